"""Request bodies: read whole, checked by their type, and turned into questions without holding up the event loop."""

from __future__ import annotations

import asyncio
import contextlib
import io
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from starlette.datastructures import FormData, UploadFile
from starlette.requests import ClientDisconnect, Request

from claprt.errors import OptionError
from claprt.serve.faults import MediaTypeError
from claprt.serve.reading import Given, Load
from claprt.serve.schemas import decoded, fitted
from claprt.serve.service import Times

T = TypeVar("T")

_FIELD_BYTES = 4 << 20
_FIELDS = 4096


@dataclass(frozen=True, slots=True)
class Form:
    """The fields of a form, labels among them not split yet, and its file."""

    fields: dict[str, list[str]]
    name: str
    size: int
    load: Load

    def fitted(self, shape: type[T], words: str, most: int) -> T:
        """The fields as a question; `words` names the one that is a list, of up to `most`.

        Raises:
            OptionError: a field that is one value is there twice, or there are more words.
            ShapeError: a field is missing or has another shape.
        """
        values: dict[str, Any] = {}
        for name, found in self.fields.items():
            if name != words and len(found) > 1:
                raise OptionError(f"The form has {name} {len(found)} times.")
            values[name] = (split(found[0], most) if len(found) == 1 else found) if name == words else found[0]
        return fitted(values, shape)


class NamedFile(io.BytesIO):
    """The bytes of an upload, which messages call by its name."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


def media_type(request: Request, *allowed: str) -> str:
    """What the body is, without parameters; JSON where nothing is stated.

    Raises:
        MediaTypeError: it is none of those.
    """
    stated = request.headers.get("content-type", "application/json").partition(";")[0].strip().lower()
    found = "application/json" if stated.endswith("+json") else stated
    if found not in allowed:
        raise MediaTypeError(f"The body is stated to be {stated or 'nothing'}; send {' or '.join(allowed)}.")
    return found


async def json_body(request: Request) -> bytes:
    """The body of a request in JSON.

    Raises:
        MediaTypeError: it is stated to be something else.
    """
    media_type(request, "application/json")
    return await request.body()


@asynccontextmanager
async def form_body(request: Request) -> AsyncGenerator[Form]:
    """The form of a request, whose file stays open inside the block.

    Raises:
        OptionError: it has no file, or more than one.
    """
    async with request.form(max_files=1, max_fields=_FIELDS, max_part_size=_FIELD_BYTES) as form:
        upload = form.get("file")
        if not isinstance(upload, UploadFile):
            raise OptionError('The form has no file; send one in the field "file".')
        name = (upload.filename or "file")[-100:]

        def load() -> Given:
            upload.file.seek(0)
            return Given(NamedFile(upload.file.read(), name))

        yield Form(_fields(form), name, upload.size or 0, load)


def _fields(form: FormData) -> dict[str, list[str]]:
    fields: dict[str, list[str]] = {}
    for name, value in form.multi_items():
        if isinstance(value, str):
            fields.setdefault(name, []).append(value)
    return fields


def split(words: str, most: int) -> list[str]:
    """Labels of a form: a JSON list, or words with commas or line breaks between them; up to `most`.

    Raises:
        OptionError: there are more.
        ShapeError: it begins like JSON and is no list of strings.

    Example:
        >>> split('["rain, heavy", "dog"]', 9), split("rain, dog", 9)
        (['rain, heavy', 'dog'], ['rain', 'dog'])
    """
    if words.lstrip().startswith(("[", "{")):
        return decoded(words.encode(errors="surrogatepass"), list[str], most)
    if words.count(",") + words.count("\n") > 2 * most:  # a comma and a line break after each, perhaps
        raise OptionError(f"There may be 1 to {most} labels in one request; this form has more.")
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
