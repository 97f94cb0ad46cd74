"""The shapes of requests and replies: what is validated, and what the API's own description shows.

`/v1/embeddings` has the field names, defaults and reply of infinity (michaelfeil/infinity, `fastapi_schemas`), which has
them from OpenAI. The forms are what a browser or `curl -F` sends; their fields are those of the JSON bodies, with the file
itself in place of base64.

Requests are msgspec's: it ends at the first thing that is wrong, so that a body costs little more memory than its own
bytes, whatever is in it. `null` stands for a field that is left out. Where the API is OpenAI's, fields that have no name
here are passed over; where it is ours, they are refused by name.
"""

from __future__ import annotations

import difflib
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct
from pydantic import BaseModel, Field

from claprt.errors import OptionError
from claprt.serve.errors import ShapeError

T = TypeVar("T")

_FILE: dict[str, Any] = {"type": "string", "format": "binary", "description": "a sound file"}
_WORDS: dict[str, Any] = {
    "type": "string",
    "description": "a JSON list, or words with commas or line breaks between them; or the field several times",
}
"""Labels in a form: the one string that they are sent as, which is split before the form is validated."""
_SMALL = 1 << 20
"""Bytes up to which a body is decoded without a look at how many strings it holds."""
_NAMES = 64
"""Strings that a request may hold beside its texts."""

Words = Annotated[list[str] | str, Meta(description="a list, or one string with commas or line breaks between the words")]
Template = Annotated[str | None, Meta(description="sentence with {} for the label, as in 'This is a sound of {}.'")]
TopK = Annotated[int, Meta(ge=1, description="how many labels `top_k_classes` names; 1 by default")] | None
Threshold = Annotated[float, Meta(ge=0, le=1, description="probability from which a tag applies; 0.5 by default")] | None
Unread = Annotated[str | None, Meta(description="taken and not looked at: there is one model")]


class _EmbeddingsFields(Struct, kw_only=True):
    """What a request for vectors may state beside its input."""

    model: Annotated[str | None, Meta(description="any name; the service has one model")] = None
    encoding_format: Annotated[
        Literal["float", "base64"] | None, Meta(description="numbers (by default), or little-endian float32 in base64")
    ] = None
    user: str | None = None
    dimensions: (
        Annotated[
            int,
            Meta(ge=0, description="keep so many numbers of each vector; 0 keeps all, and is what CLAP is trained for"),
        ]
        | None
    ) = None


class EmbeddingsRequest(_EmbeddingsFields, kw_only=True):
    """Texts, or sounds in base64."""

    input: Annotated[
        str | list[str],
        Meta(description='one or several texts; with modality "audio", files in base64 or as `data:` URIs'),
    ]
    modality: Annotated[
        Literal["text", "audio"] | None,
        Meta(description="`text`, or `audio` where all of the input are `data:audio/…` URIs"),
    ] = None


class TokensRequest(_EmbeddingsFields, kw_only=True):
    """Token ids in place of texts, as OpenAI's API allows."""

    input: list[int | list[int]]


class EmbeddingObject(BaseModel):
    """One vector."""

    object: Literal["embedding"] = "embedding"
    embedding: list[float] | str
    index: int


class Usage(BaseModel):
    """Tokens of texts; 0 for sounds, which have none."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsReply(BaseModel):
    """Vectors in the order of the input."""

    object: Literal["list"] = "list"
    data: list[EmbeddingObject]
    model: str
    usage: Usage
    id: str
    created: int = Field(description="seconds since 1970")


class ClassifyForm(Struct, kw_only=True, forbid_unknown_fields=True):
    """A file and labels."""

    labels: Words
    template: Template = None
    top_k: TopK = None
    model: Unread = None
    user: Unread = None


class ClassifyRequest(ClassifyForm, kw_only=True):
    """A sound as base64 of a file, and labels."""

    audio: str


class TagForm(Struct, kw_only=True, forbid_unknown_fields=True):
    """A file and tags."""

    tags: Words
    template: Template = None
    threshold: Threshold = None
    model: Unread = None
    user: Unread = None


class TagRequest(TagForm, kw_only=True):
    """A sound as base64 of a file, and tags."""

    audio: str


class AnalyseForm(Struct, kw_only=True, forbid_unknown_fields=True):
    """What the page asks: a file, and labels that may be none."""

    labels: Words | None = None
    template: Template = None
    threshold: Threshold = None
    mode: Literal["classify", "tag"] | None = None


class ProjectRequest(Struct):
    """One embedding, or several; what it does not name is left alone, as in the original."""

    type: Any = "inference"
    embedding: list[float] | None = None
    embeddings: list[list[float]] | None = None
    sound_id: Any = None
    sound_ids: Any = None


def decoded(body: bytes, shape: type[T], texts: int) -> T:
    """A request in JSON.

    Args:
        body: of the request.
        shape: what it is to be.
        texts: strings that it may hold, before each of them becomes an object.

    Raises:
        OptionError: if it holds more, or a field that is not of this shape.
        ShapeError: if it is not JSON, or has another shape.
    """
    if len(body) > _SMALL and _quotes(body) > 2 * (texts + _NAMES):
        raise OptionError(f"There may be up to {texts} texts in one request; this one has more.")
    try:
        return msgspec.json.decode(body.removeprefix(BOM_UTF8), type=shape, strict=False)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise _misfit(error, shape, _hint(body)) from error


def _quotes(body: bytes) -> int:
    """How many strings begin or end in a body, piece by piece: counting holds Python's global lock."""
    pieces = range(0, len(body), _SMALL)
    return sum(body.count(b'"', at, at + _SMALL) - body.count(b'\\"', at, at + _SMALL + 1) for at in pieces)


def fitted(fields: Mapping[str, Any], shape: type[T]) -> T:
    """The fields of a form, which are strings, but for one list of them.

    Raises:
        OptionError: if there is a field that is not of this shape.
        ShapeError: if one is missing or has another shape.
    """
    try:
        return msgspec.convert(fields, shape, strict=False)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise _misfit(error, shape) from error


def _misfit(error: Exception, shape: type, hint: str = "") -> OptionError | ShapeError:
    """What is wrong with a request; an unknown field is named beside those that there are."""
    unknown = re.search(r"contains unknown field `(.*)`", str(error), re.DOTALL)
    if unknown is None:
        return ShapeError(f"The request is not understood: {error}.{hint}")
    known = msgspec.structs.fields(shape)
    names = [field.encode_name for field in known if field.type is not Unread]
    near = difflib.get_close_matches(unknown[1].lower(), names, 1)
    meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}."
    return OptionError(f"There is no field {unknown[1][:60]!r} here; {meant}")


def _hint(body: bytes) -> str:
    """What a body looks like that does not begin as JSON does."""
    if body.startswith(b"\x1f\x8b"):
        return " It is compressed with gzip; send it as it is."
    if body.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) or body[1:2] == b"\0":
        return " It is UTF-16; send UTF-8."
    if body.startswith(b"--"):
        return " It looks like a form; state its Content-Type, multipart/form-data with the boundary."
    return ""


def described(json: type[Struct] | None = None, form: type[Struct] | None = None) -> dict[str, Any]:
    """The request body of an endpoint for the API's description; `form` has a file beside its fields."""
    content: dict[str, Any] = {}
    if json is not None:
        content["application/json"] = {"schema": _schema(json)}
    if form is not None:
        schema = _schema(form)
        words = {name: _WORDS for name in schema["properties"] if name in ("labels", "tags")}
        schema["properties"] = {"file": _FILE, **schema["properties"], **words}
        schema["required"] = ["file", *schema.get("required", [])]
        content["multipart/form-data"] = {"schema": schema}
    return {"requestBody": {"required": True, "content": content}}


def _schema(shape: type[Struct]) -> dict[str, Any]:
    _, found = msgspec.json.schema_components((shape,))
    return found[shape.__name__]
