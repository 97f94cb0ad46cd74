"""Request bodies: media types, JSON, forms and lists of labels; and responses in JSON."""

from __future__ import annotations

import asyncio
import contextlib
import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import msgspec
from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from claprt.errors import OptionError
from claprt.serve.errors import MediaTypeError
from claprt.serve.scheduling.audio_input import AudioInput
from claprt.serve.scheduling.service import Times
from claprt.serve.schemas import convert_form, decode_json

T = TypeVar("T")

JSON = "application/json"
FORM = "multipart/form-data"

_FIELD_BYTES = 4 << 20
_FIELDS = 4096
_BRACKETS = re.compile(r"\[\d*\]$")


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form and its file."""

    fields: dict[str, list[str]]
    lists: frozenset[str]
    """Fields that were sent as `name[]` or `name[0]`, as axios and PHP name those of a list."""
    audio: AudioInput
    size: int
    """Bytes of the request."""

    def to_struct(self, shape: type[T], *lists: str) -> T:
        """Convert the fields; a blank field counts as left out.

        Args:
            shape: Type to convert to.
            lists: Names of the fields that may be lists.

        Raises:
            OptionError: If another field is there twice, or unknown.
            ShapeError: If a field is missing or has another shape.
        """
        values: dict[str, Any] = {}
        for name, texts in self.fields.items():
            if name in lists:
                values[name] = texts if len(texts) > 1 or name in self.lists else texts[0]
            elif len(texts) > 1:
                raise OptionError(f"The form has {name} {len(texts)} times.")
            elif texts[0].strip():
                values[name] = texts[0]
        return convert_form(values, shape)


def json_response(content: Any) -> Response:
    """Encode a response; msgspec encodes numbers several times as fast as `json`."""
    return Response(msgspec.json.encode(content), media_type=JSON)


def check_media_type(request: Request, *allowed: str) -> str:
    """Check the media type of the body, and return it without parameters; it is JSON by default.

    Raises:
        MediaTypeError: If it is not allowed, or the body has a content encoding or a charset other than UTF-8.
    """
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise MediaTypeError(f"The body is stated to be encoded with {encoding[:40]}; send it without Content-Encoding.")
    content_type = request.headers.get("content-type", JSON)
    charset = re.search(r";\s*charset=[\"']?([^\s;\"']+)", content_type, re.IGNORECASE)
    if charset is not None and charset[1].lower() not in ("utf-8", "utf8", "us-ascii", "ascii"):
        raise MediaTypeError(f"The body is stated to be in {charset[1][:40]}; send UTF-8.")
    stated = content_type.partition(";")[0].strip().lower()
    media_type = JSON if stated.endswith("+json") else stated
    if media_type not in allowed:
        raise MediaTypeError(f"The body is stated to be {stated or 'nothing'}; send {' or '.join(allowed)}.")
    return media_type


async def read_json(request: Request) -> bytes:
    """Read the body of a request in JSON.

    Raises:
        MediaTypeError: If its media type is another.
    """
    check_media_type(request, JSON)
    return await request.body()


async def read_form(request: Request) -> Form:
    """Read the form of a request. Its file may be in a field of any name.

    Raises:
        OptionError: If it has no file.
    """
    form = await _parse(request)
    fields, lists = _fields(form)
    upload = next((value for _, value in form.multi_items() if isinstance(value, UploadFile)), None)
    if upload is None:
        raise OptionError(_no_file(fields))
    content = upload.file.read()
    upload.file.close()
    audio = AudioInput(content, name=(upload.filename or "file")[-100:])
    return Form(fields, lists, audio, int(request.headers["content-length"]))


class _InMemory(MultiPartParser):
    """A parser that keeps the file in memory, as bodies in JSON are, rather than on disk."""

    spool_max_size = sys.maxsize


async def _parse(request: Request) -> FormData:
    limits = {"max_files": 1, "max_fields": _FIELDS, "max_part_size": _FIELD_BYTES}
    try:
        return await _InMemory(request.headers, request.stream(), **limits).parse()
    except MultiPartException as error:
        raise HTTPException(400, error.message) from error


def _no_file(fields: dict[str, list[str]]) -> str:
    if "file" in fields:
        return (
            'The form\'s field "file" is text and not a file; a file has a filename in its part of the form (curl: -F '
            "file=@NAME, with the @)."
        )
    return 'The form has no file; send one in the field "file".'


def _fields(form: FormData) -> tuple[dict[str, list[str]], frozenset[str]]:
    """The text fields of a form by their names without brackets, and the names that had brackets."""
    fields: dict[str, list[str]] = {}
    lists: set[str] = set()
    for stated, value in form.multi_items():
        if isinstance(value, str):
            name = _BRACKETS.sub("", stated)
            fields.setdefault(name, []).append(value)
            if name != stated:
                lists.add(name)
    return fields, frozenset(lists)


def split_labels(labels: Sequence[str] | str, most: int) -> list[str]:
    """Split the labels of a request: a list, or one string.

    Args:
        labels: A list; or a string with a JSON list, or with commas or line breaks between labels.
        most: Limit on their number.

    Raises:
        OptionError: If there are more.
        ShapeError: If a string begins like JSON and is not a list of strings.

    Example:
        >>> split_labels('["rain, heavy", "dog"]', 9), split_labels("rain, dog", 9)
        (['rain, heavy', 'dog'], ['rain', 'dog'])
    """
    if not isinstance(labels, str):
        return list(labels)
    labels = labels.removeprefix("\ufeff")
    if labels.lstrip().startswith(("[", "{")):
        return decode_json(labels.encode(errors="surrogatepass"), list[str], most)
    if labels.count(",") + labels.count("\n") > 2 * most:  # a comma and a line break after each, perhaps
        raise OptionError(f"There may be 1 to {most} labels in one request; this one has more.")
    return [label.strip() for label in labels.replace("\n", ",").split(",") if label.strip()]


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """Await work on a request whose body has been read; cancel it if the client disconnects.

    Raises:
        ClientDisconnect: If the client disconnects.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_wait_disconnect(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _wait_disconnect(receive: Callable[[], Awaitable[Any]]) -> None:
    with contextlib.suppress(RuntimeError, OSError):
        while (await receive())["type"] != "http.disconnect":
            pass


def times_of(request: Request) -> Times:
    """Times of a request whose body has just arrived."""
    times = Times(began=request.state.began)
    times.stages["upload"] = times.to_dict()["total"]
    return times
