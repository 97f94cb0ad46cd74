"""The library's endpoints: search, facts of sounds, their waveforms and files."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import partial
from pathlib import PurePosixPath
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response

from claprt.errors import OptionError
from claprt.serve.http.openapi import HttpEndpoint
from claprt.serve.http.request_bodies import (
    FORM,
    JSON,
    check_media_type,
    json_response,
    read_form,
    split_labels,
    times_of,
    while_connected,
)
from claprt.serve.library.files import State, state_of
from claprt.serve.library.interface import FoundSound, SoundFacts
from claprt.serve.library.peaks import MOST_COLUMNS, Peaks
from claprt.serve.library.ranges import ContentResponse
from claprt.serve.library.schemas import (
    HitReply,
    LibraryReply,
    SearchForm,
    SearchRequest,
    SoundReply,
    WindowReply,
)
from claprt.serve.library.search import LibraryService, Search
from claprt.serve.scheduling.audio_input import AudioInput, Encoding
from claprt.serve.scheduling.service import Times
from claprt.serve.schemas import decode_json

_K = 20
_COLUMNS = 200
_WINDOWS = 64
"""Windows of a hit in a reply, the best ones."""
_DIGITS = 6
_SOUND = "/library/sounds/{id}"
_KEPT = "private, max-age=600"
_FILE_HEADERS = {
    "content-security-policy": "default-src 'none'; sandbox",
    "x-content-type-options": "nosniff",
    "cache-control": _KEPT,
}
_MISSING = {404: "no such sound"}
_NOT_SERVED = {
    **_MISSING,
    403: "without `--allow-audio`, or a file outside of the library's folders",
    406: "a format that browsers do not play",
    409: "changed since it was indexed",
    410: "removed since it was indexed",
}


class LibraryApi:
    """Handlers of the endpoints; their docstrings are in the OpenAPI document."""

    def __init__(self, library: LibraryService, *, is_open: bool) -> None:
        """Serve a library.

        Args:
            library: The library.
            is_open: Whether pages of other origins may use the service, and so may play its sounds.
        """
        self._library, self._service = library, library.service
        self._headers = _FILE_HEADERS | ({} if is_open else {"cross-origin-resource-policy": "same-origin"})

    def endpoints(self) -> list[HttpEndpoint]:
        """All endpoints."""
        get = partial(HttpEndpoint, "GET", is_of_model=False)
        columns = {"n": f"columns, 1 to {MOST_COLUMNS}; {_COLUMNS} by default"}
        return [
            HttpEndpoint(
                "POST", "/search", self.search, SearchRequest, SearchForm, HitReply, is_list=True, is_of_model=False
            ),
            get("/library/facts", self.library_facts, reply=LibraryReply),
            get(_SOUND, self.sound, reply=SoundReply, errors=_MISSING),
            get(f"{_SOUND}/audio", self.sound_audio, reply=bytes, errors={**_NOT_SERVED, 416: "a range beyond the end"}),
            get(f"{_SOUND}/peaks", self.sound_peaks, reply=Peaks, errors=_NOT_SERVED, query=columns),
        ]

    async def search(self, request: Request) -> Response:
        """The library's sounds that fit texts, sounds or other sounds of the library best, best first."""
        service = self._service
        if check_media_type(request, JSON, FORM) == JSON:
            body = await request.body()
            size, decoded = len(body), lambda: _from_json(body, service.limits.texts)
        else:
            form = await read_form(request)
            most = service.limits.texts
            size = form.size
            decoded = lambda: _search(form.to_struct(SearchForm, "ids", "minus_ids"), [form.audio], most)  # noqa: E731
        times = times_of(request)

        async def work() -> Response:
            wanted = await service.threads.run(decoded)
            hits = await self._library.search(wanted, times)
            # hits of long sounds have many windows
            response = await service.threads.run(
                lambda: json_response([self._hit(hit, with_windows=wanted.windows) for hit in hits])
            )
            response.headers["server-timing"] = _server_timing(times)
            return response

        with service.admit(size):
            return await while_connected(request, work())

    async def library_facts(self, request: Request) -> Response:
        """How many sounds and rows the library has, and whether they can be played."""
        with self._service.admit():
            sounds, rows = await while_connected(request, self._library.counts())
        audio, fingerprint = self._library.allow_audio, self._library.library.fingerprint
        return json_response(LibraryReply(sounds=sounds, rows=rows, fingerprint=fingerprint, audio=audio))

    async def sound(self, request: Request) -> Response:
        """Facts of a sound, and whether its file is still as it was indexed."""
        request.state.endpoint = _SOUND
        with self._service.admit():
            facts = await while_connected(request, self._library.find(request.path_params["id"]))
            return json_response(await self._reply(facts))

    async def sound_audio(self, request: Request) -> Response:
        """The sound itself, whole or a range of its bytes. Formats that browsers do not play are sent as 16-bit WAV."""
        request.state.endpoint = f"{_SOUND}/audio"
        with self._service.admit():
            facts, content = await self._library.content(request.path_params["id"])
        name = PurePosixPath(self._library.roots.shown(facts)).name
        if content.media_type == "audio/wav" and not name.lower().endswith((".wav", ".wave")):
            name += ".wav"

        async def read(start: int, end: int) -> bytes:
            return await self._library.in_file_thread(lambda: content.read(start, end))

        headers = {**self._headers, "content-disposition": _disposition(name)}
        etag = f'"{facts.id[:64]}-{facts.size:x}-{int(1e6 * facts.mtime):x}"'
        return ContentResponse(content, etag, facts.mtime, read, headers)

    async def sound_peaks(self, request: Request) -> Response:
        """The waveform of a sound as its lowest and highest samples in `n` stretches."""
        request.state.endpoint = f"{_SOUND}/peaks"
        columns = _whole_number(request.query_params)
        with self._service.admit():
            peaks = await while_connected(request, self._library.peaks(request.path_params["id"], columns))
        response = json_response(peaks)
        response.headers["cache-control"] = _KEPT
        return response

    async def _reply(self, facts: SoundFacts) -> SoundReply:
        state: State | None = None
        if self._library.allow_audio:
            state = await self._library.in_file_thread(lambda: state_of(facts, self._library.roots))
        return SoundReply(
            id=facts.id,
            path=self._library.roots.shown(facts),
            size=facts.size,
            mtime=facts.mtime,
            sha256=facts.sha256,
            duration_s=facts.duration_s,
            sample_rate=facts.sample_rate,
            channels=facts.channels,
            state=state,
        )

    def _hit(self, hit: FoundSound, *, with_windows: bool) -> HitReply:
        windows = [WindowReply(start_s=start, score=round(score, _DIGITS)) for start, score in hit.windows[:_WINDOWS]]
        return HitReply(
            path=self._library.roots.shown(hit.facts),
            id=hit.facts.id,
            score=round(hit.score, _DIGITS),
            start_s=hit.start_s,
            duration_s=hit.facts.duration_s,
            windows=windows if with_windows else None,
        )


def _from_json(body: bytes, most: int) -> Search:
    fields = decode_json(body, SearchRequest, most)
    return _search(fields, [AudioInput(one, encoding=Encoding.BASE64) for one in _list(fields.audio)], most)


def _search(fields: SearchForm, sounds: list[AudioInput], most: int) -> Search:
    return Search(
        texts=_list(fields.text),
        sounds=sounds,
        ids=split_labels(fields.ids or [], most),
        minus=_list(fields.minus),
        minus_ids=split_labels(fields.minus_ids or [], most),
        k=fields.k or _K,
        where=fields.where or None,
        windows=fields.windows is not False,
        names=fields.names or 0.0,
    )


def _list(values: list[str] | str | None) -> list[str]:
    return [values] if isinstance(values, str) else values or []


def _whole_number(query: Mapping[str, str]) -> int:
    stated = query.get("n", str(_COLUMNS))
    if not re.fullmatch(r"[0-9]{1,4}", stated) or not 1 <= int(stated) <= MOST_COLUMNS:
        raise OptionError(f"n={stated:.20} is not possible; give 1 to {MOST_COLUMNS} columns.")
    return int(stated)


def _disposition(name: str) -> str:
    """The header that names a file.

    Example:
        >>> _disposition("bär.wav")
        "inline; filename*=UTF-8''b%C3%A4r.wav"
    """
    return f"inline; filename*=UTF-8''{quote(name.encode(errors='replace'), safe='')}"


def _server_timing(times: Times) -> str:
    return ", ".join(f"{stage};dur={took}" for stage, took in times.to_dict().items())
