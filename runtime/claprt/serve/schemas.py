"""Shapes of requests and replies: requests are validated against them, and the OpenAPI document shows them.

`/v1/embeddings` has the field names, defaults and reply of infinity (michaelfeil/infinity, `fastapi_schemas`), which follow
OpenAI's. Forms are sent by browsers and `curl -F`; they have the fields of the JSON bodies, with the file in place of
base64.

msgspec stops at the first error, so that decoding a body takes little more memory than its bytes, whatever it contains.
`null` means that a field is left out. Unknown fields are ignored where the API is OpenAI's, and refused elsewhere.
"""

from __future__ import annotations

import difflib
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Mapping
from typing import Annotated, Any, Literal, NoReturn, TypeVar

import msgspec
from msgspec import Meta, Struct

from claprt.errors import OptionError
from claprt.serve.errors import ShapeError

T = TypeVar("T")
VectorFormat = Literal["float", "base64", "int8", "binary", "ubinary"]
"""Forms of vectors in replies; `claprt.serve.http.quantised` makes them."""

_SMALL = 1 << 20
"""Size of a body from which its strings are counted before it is decoded."""
_NAMES = 64
"""Strings that a request may have besides its texts."""

Words = Annotated[list[str] | str, Meta(description="a list, or one string with commas or line breaks between the words")]
Template = Annotated[str | None, Meta(description="sentence with {} for the label, as in 'This is a sound of {}.'")]
TopK = Annotated[int, Meta(ge=1, description="how many labels `top_k_classes` names; 1 by default")] | None
Threshold = Annotated[float, Meta(ge=0, le=1, description="probability from which a tag applies; 0.5 by default")] | None
Unread = Annotated[str | None, Meta(description="ignored")]
ModelName = Annotated[
    str | None, Meta(description="name of a model, where several are served; the default one if it is left out")
]


class _EmbeddingsFields(Struct, kw_only=True):
    """Fields of a request for vectors besides its input."""

    model: ModelName = None
    encoding_format: Annotated[
        VectorFormat | None,
        Meta(
            description="`float`: numbers (by default); `base64`: little-endian float32; `int8`: whole numbers, to be "
            "multiplied with `scale`; `ubinary`: a bit for each number above 0, in bytes; `binary`: these bytes minus 128"
        ),
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
    """Texts, or audio files in base64."""

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


class EmbeddingObject(Struct, kw_only=True):
    """One vector."""

    object: Literal["embedding"] = "embedding"
    embedding: list[int | float] | str
    index: int
    scale: Annotated[float | None, Meta(description="of int8: the vector is `scale` times `embedding`")] = None


class Usage(Struct):
    """Tokens of texts; 0 for audio, which has none."""

    prompt_tokens: int
    total_tokens: int


class EmbeddingsReply(Struct, kw_only=True):
    """Vectors in the order of the input."""

    object: Literal["list"] = "list"
    data: list[EmbeddingObject]
    model: str
    usage: Usage
    id: str
    created: Annotated[int, Meta(description="seconds since 1970")]


class ClassifyForm(Struct, kw_only=True, forbid_unknown_fields=True):
    """A file and labels."""

    labels: Words
    template: Template = None
    top_k: TopK = None
    model: ModelName = None
    user: Unread = None


class ClassifyRequest(ClassifyForm, kw_only=True):
    """An audio file in base64, and labels."""

    audio: str


class TagForm(Struct, kw_only=True, forbid_unknown_fields=True):
    """A file and tags."""

    tags: Words
    template: Template = None
    threshold: Threshold = None
    model: ModelName = None
    user: Unread = None


class TagRequest(TagForm, kw_only=True):
    """An audio file in base64, and tags."""

    audio: str


class AnalyseForm(Struct, kw_only=True, forbid_unknown_fields=True):
    """A request of the page: a file, and optional labels."""

    labels: Words | None = None
    template: Template = None
    threshold: Threshold = None
    mode: Literal["classify", "tag"] | None = None


class ProjectRequest(Struct):
    """One embedding, or several; other fields are ignored, as in the original."""

    type: Any = "inference"
    embedding: list[float] | None = None
    embeddings: list[list[float]] | None = None
    sound_id: Any = None
    sound_ids: Any = None


def decode_json(body: bytes, shape: type[T], texts: int) -> T:
    """Decode a request in JSON.

    Args:
        body: Body of the request.
        shape: Type to decode to.
        texts: Limit on its strings, checked before they become objects.

    Raises:
        OptionError: If it has more strings, or an unknown field.
        ShapeError: If it is not JSON, or has another shape.
    """
    if len(body) > _SMALL and _quotes(body) > 2 * (texts + _NAMES):
        raise OptionError(f"There may be up to {texts} texts in one request; this one has more.")
    try:
        return msgspec.json.decode(body.removeprefix(BOM_UTF8), type=shape, strict=False)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        _refuse(error, shape, _hint(body))


def _quotes(body: bytes) -> int:
    """Count the quotes of strings in a body, piece by piece, since counting holds the GIL."""
    pieces = range(0, len(body), _SMALL)
    return sum(body.count(b'"', at, at + _SMALL) - body.count(b'\\"', at, at + _SMALL + 1) for at in pieces)


def convert_form(fields: Mapping[str, Any], shape: type[T]) -> T:
    """Convert the fields of a form: strings, but for one list of them.

    Raises:
        OptionError: If there is an unknown field.
        ShapeError: If one is missing or has another shape.
    """
    try:
        return msgspec.convert(fields, shape, strict=False)
    except (msgspec.MsgspecError, UnicodeError) as error:
        _refuse(error, shape)


def _refuse(error: Exception, shape: type, hint: str = "") -> NoReturn:
    """Raise the error for an invalid request; for an unknown field it lists the known ones.

    Raises:
        OptionError: If there is an unknown field.
        ShapeError: If anything else is wrong.
    """
    unknown = re.search(r"contains unknown field `(.*)`", str(error), re.DOTALL)
    if unknown is None:
        raise ShapeError(f"The request is not understood: {error}.{hint}") from error
    known = msgspec.structs.fields(shape)
    names = [field.encode_name for field in known if field.type not in (Unread, ModelName)]
    near = difflib.get_close_matches(unknown[1].lower(), names, 1)
    meant = f"did you mean {near[0]}?" if near else f"there are {', '.join(names)}."
    raise OptionError(f"There is no field {unknown[1][:60]!r} here; {meant}") from error


def _hint(body: bytes) -> str:
    """What a body that is not JSON looks like."""
    if body.startswith(b"\x1f\x8b"):
        return " It is compressed with gzip; send it as it is."
    if body.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) or body[1:2] == b"\0":
        return " It is UTF-16; send UTF-8."
    if body.startswith(b"--"):
        return " It looks like a form; state its Content-Type, multipart/form-data with the boundary."
    return ""
