"""Request bodies, read whole, checked by their type and decoded beside the event loop; and replies in JSON."""

from __future__ import annotations

import asyncio
import contextlib
import io
import re
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
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
from claprt.serve.scheduling.features import Given, Load
from claprt.serve.scheduling.service import Times
from claprt.serve.schemas import decoded, fitted

T = TypeVar("T")

JSON = "application/json"

_FIELD_BYTES = 4 << 20
_FIELDS = 4096
_BRACKETS = re.compile(r"\[\d*\]$")


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form, labels among them not split yet, and its file."""

    fields: dict[str, list[str]]
    lists: frozenset[str]
    """Fields that were sent as `name[]` or `name[0]`, as axios and PHP name those of a list."""
    name: str
    size: int
    load: Load

    def fitted(self, shape: type[T], words: str) -> T:
        """The fields as a question; `words` names the one that may be a list. A blank field is one that is left out.

        Raises:
            OptionError: if a field that is one value is there twice, or there is one that is not of this shape.
            ShapeError: if a field is missing or has another shape.
        """
        values: dict[str, Any] = {}
        for name, found in self.fields.items():
            if name == words:
                values[name] = found if len(found) > 1 or name in self.lists else found[0]
            elif len(found) > 1:
                raise OptionError(f"The form has {name} {len(found)} times.")
            elif found[0].strip():
                values[name] = found[0]
        return fitted(values, shape)


class NamedFile(io.BytesIO):
    """The bytes of an upload, which messages call by its name."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


def in_json(content: Any, status: int = 200) -> Response:
    """A reply. msgspec writes numbers several times as fast as `json`, and there are many of them."""
    return Response(msgspec.json.encode(content), status, media_type=JSON)


def media_type(request: Request, *allowed: str) -> str:
    """What the body is, without parameters; JSON where nothing is stated.

    Raises:
        MediaTypeError: if it is stated to be something else, or in an encoding.
    """
    encoding = request.headers.get("content-encoding", "").strip().lower()
    if encoding not in ("", "identity"):
        raise MediaTypeError(f"The body is stated to be encoded with {encoding[:40]}; send it without Content-Encoding.")
    content_type = request.headers.get("content-type", JSON)
    charset = re.search(r";\s*charset=[\"']?([^\s;\"']+)", content_type, re.IGNORECASE)
    if charset is not None and charset[1].lower() not in ("utf-8", "utf8", "us-ascii", "ascii"):
        raise MediaTypeError(f"The body is stated to be in {charset[1][:40]}; send UTF-8.")
    stated = content_type.partition(";")[0].strip().lower()
    found = JSON if stated.endswith("+json") else stated
    if found not in allowed:
        raise MediaTypeError(f"The body is stated to be {stated or 'nothing'}; send {' or '.join(allowed)}.")
    return found


async def json_body(request: Request) -> bytes:
    """The body of a request in JSON.

    Raises:
        MediaTypeError: it is stated to be something else.
    """
    media_type(request, JSON)
    return await request.body()


@asynccontextmanager
async def form_body(request: Request) -> AsyncGenerator[Form]:
    """The form of a request, whose file stays open inside the block. It may be in a field of any name.

    Raises:
        OptionError: if it has no file, or more than one.
    """
    form = await _parsed(request)
    try:
        fields, lists = _fields(form)
        upload = next((value for _, value in form.multi_items() if isinstance(value, UploadFile)), None)
        if upload is None:
            raise OptionError(_no_file(fields))
        name = (upload.filename or "file")[-100:]

        content: list[bytes] = []

        def load() -> Given:
            if not content:
                upload.file.seek(0)
                content.append(upload.file.read())
                upload.file.close()
            return Given(NamedFile(content[0], name))

        yield Form(fields, lists, name, int(request.headers["content-length"]), load)
    finally:
        await form.close()


class _InMemory(MultiPartParser):
    """A form whose file stays in memory, as bodies in JSON do: so the disk has nothing to do with it."""

    spool_max_size = sys.maxsize


async def _parsed(request: Request) -> FormData:
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
    """The texts of a form by their names without brackets, and the names that had some."""
    fields: dict[str, list[str]] = {}
    lists: set[str] = set()
    for stated, value in form.multi_items():
        if isinstance(value, str):
            name = _BRACKETS.sub("", stated)
            fields.setdefault(name, []).append(value)
            if name != stated:
                lists.add(name)
    return fields, frozenset(lists)


def split(words: Sequence[str] | str, most: int) -> list[str]:
    """Labels as a request states them: a list, or one string of a form or of JSON.

    Args:
        words: a list as it is; of a string, a JSON list or what stands between commas and line breaks.
        most: how many there may be.

    Raises:
        OptionError: if there are more.
        ShapeError: if a string begins like JSON and is not a list of strings.

    Example:
        >>> split('["rain, heavy", "dog"]', 9), split("rain, dog", 9), split(["rain, heavy"], 9)
        (['rain, heavy', 'dog'], ['rain', 'dog'], ['rain, heavy'])
    """
    if not isinstance(words, str):
        return list(words)
    words = words.removeprefix("\ufeff")
    if words.lstrip().startswith(("[", "{")):
        return decoded(words.encode(errors="surrogatepass"), list[str], most)
    if words.count(",") + words.count("\n") > 2 * most:  # a comma and a line break after each, perhaps
        raise OptionError(f"There may be 1 to {most} labels in one request; this one has more.")
    return [word.strip() for word in words.replace("\n", ",").split(",") if word.strip()]


async def while_connected(request: Request, work: Awaitable[T]) -> T:
    """The result of work on a request whose body has been read; given up when the client leaves.

    Raises:
        ClientDisconnect: it has left.
    """
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_left(request.receive))
    try:
        await asyncio.wait({task, gone}, return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            raise ClientDisconnect
        return task.result()
    finally:
        task.cancel()
        gone.cancel()


async def _left(receive: Callable[[], Awaitable[Any]]) -> None:
    with contextlib.suppress(RuntimeError, OSError):
        while (await receive())["type"] != "http.disconnect":
            pass


def times_of(request: Request) -> Times:
    """The times of a request whose body has just arrived."""
    times = Times(began=request.state.began)
    times.stages["upload"] = times.to_dict()["total"]
    return times
