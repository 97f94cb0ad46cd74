"""The protocol of `/stream`: blocks of samples in, windows and events out as they come.

The client begins with a message in JSON that states labels and rate, then sends blocks in binary messages: interleaved
little-endian float32 or int16. A block has a reply only if a window or an event is complete with it; every message in JSON
has one. An error reply means that the message was left out, and the stream goes on; one to a block that was taken already
says that it cannot, until it is begun anew.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from claprt.audio.block_stream import BlockStream
from claprt.audio.features import AudioFeatures
from claprt.audio.levels import MAX_CHANNELS
from claprt.audio.long_audio import LongAudioPolicy, dense_policy
from claprt.audio.preprocess import recipe
from claprt.bundle.fingerprint import fingerprint_of
from claprt.bundle.graphs import Stage
from claprt.errors import AudioError, AudioShapeError, ClaprtError, OptionError
from claprt.model.stream import StreamWindow, scored_window
from claprt.scoring.events import Event, EventOptions
from claprt.scoring.track import LabelTrack
from claprt.serve.errors import OverloadedError, to_client_error
from claprt.serve.http.timeline import Probability, Seconds
from claprt.serve.scheduling.labels_over_time import scorer_of
from claprt.serve.scheduling.service import Service
from claprt.serve.schemas import Template, decode_json

_NOT_BEGUN = 'Begin the stream with a message in JSON: {"labels": ["rain"], "sample_rate": 16000}.'


class Start(Struct, kw_only=True, forbid_unknown_fields=True):
    """The first message."""

    sample_rate: float
    type: Literal["start"] = "start"
    labels: list[str] | None = None
    background: list[str] = []
    scores: Literal["tag", "classify"] = "tag"
    template: Template = None
    format: Literal["float32", "int16"] = "float32"
    channels: Annotated[int, Meta(ge=1, le=MAX_CHANNELS)] = 1
    hop_s: Seconds = 1.0
    window_s: Seconds | None = None
    on: Probability = 0.5
    off: Probability | None = None
    min_duration_s: Seconds = 0.0
    merge_s: Seconds = 0.0
    embeddings: bool = False


class Command(Struct, kw_only=True, forbid_unknown_fields=True):
    """A later message in JSON: `labels` takes others from the next window on."""

    type: Literal["labels", "flush", "reset"]
    labels: list[str] | None = None
    background: list[str] | None = None


class _Type(Struct):
    type: str = "start"


class StreamProtocol:
    """The protocol on one connection."""

    def __init__(self, service: Service) -> None:
        self._service = service
        clap = service.clap
        # a recipe that has to know a sound's peak cannot take it in blocks
        self._recipe = clap.recipe if clap.recipe.streams else recipe("laion")
        self._fingerprint = fingerprint_of(clap.manifest, self._recipe.name, clap.long.label, clap.precision)
        self._start: Start | None = None
        self._policy: LongAudioPolicy | None = None
        self._blocks: BlockStream | None = None
        self._track: LabelTrack | None = None
        self._failure: ClaprtError | None = None

    async def answer(self, message: bytes | str) -> str | None:
        """The reply to a message; None to a block that completes no window.

        Raises:
            OptionError: If the message has no meaning here.
        """
        if isinstance(message, bytes):
            return await self._block(message)
        command = await self._service.threads.run(lambda: self._decoded(message))
        if isinstance(command, Start):
            return await self._begin(command)
        if self._start is None:
            raise OptionError(_NOT_BEGUN)
        if command.type == "labels":
            return await self._set_labels(self._start, command)
        if command.labels is not None or command.background is not None:
            raise OptionError(f'labels have no use with "{command.type}"; send them with the type "labels".')
        if command.type == "flush":
            return await self._flush(self._start)
        self._blocks, self._failure = self._new_blocks(self._start), None
        if self._track is not None:
            self._track.reset()
        return _encoded({"type": "reset"})

    def _decoded(self, message: str) -> Start | Command:
        most, content = self._service.limits.timeline_labels, message.encode(errors="surrogatepass")
        kind = decode_json(content, _Type, most).type
        return decode_json(content, Start if kind == "start" else Command, most)

    def error_reply(self, error: ClaprtError) -> str:
        """An error, with its type."""
        return _encoded({"type": "error", "error": type(error).__name__, "message": str(error)})

    def end(self) -> None:
        """The connection is closed: its place is free."""
        self._service.shared.streams.discard(self)

    async def _begin(self, start: Start) -> str:
        service = self._service
        service.check_tower(Stage.AUDIO)
        if self._start is not None:
            raise OptionError("The stream has begun; its labels can change, and other options need a new connection.")
        if start.labels is None and start.background:
            raise OptionError("background was given without labels; it is what labels are held against.")
        options = EventOptions(on=start.on, off=start.off, min_duration_s=start.min_duration_s, merge_s=start.merge_s)
        self._policy = dense_policy(service.clap.manifest.audio, start.hop_s, start.window_s)
        blocks = self._new_blocks(start)
        track = None
        if start.labels is not None:
            scorer = await scorer_of(service, start.labels, start.background, start.scores, start.template)
            track = LabelTrack(scorer, options)
        if len(service.shared.streams) >= service.limits.streams:
            raise OverloadedError(
                f"{service.limits.streams} streams are open, as many as this service takes. Try again later."
            )
        service.shared.streams.add(self)
        self._start, self._blocks, self._track = start, blocks, track
        facts = {"window_s": self._window_s, "hop_s": start.hop_s, "fingerprint": self._fingerprint}
        warning = None if track is None else track.scorer.warning
        return _encoded(
            {"type": "ready", "labels": start.labels or [], **facts, **({"warning": warning} if warning else {})}
        )

    async def _set_labels(self, start: Start, command: Command) -> str:
        if command.labels is None:
            raise OptionError('The type "labels" needs labels, a list of them.')
        if self._track is None:
            raise OptionError("This stream was begun without labels; begin one with them.")
        before = self._track.scorer.options
        background = before.background if command.background is None else command.background
        self._track.set_scorer(await scorer_of(self._service, command.labels, background, start.scores, start.template))
        return _encoded({"type": "labels", "labels": command.labels})

    async def _block(self, content: bytes) -> str | None:
        if self._start is None or self._blocks is None:
            raise OptionError(_NOT_BEGUN)
        self._check_going()
        block, before = self._samples(self._start, content), self._blocks.samples
        try:
            windows, events = await self._results(self._blocks.steps(block), self._start)
        except Exception as cause:  # noqa: BLE001 - whatever it was, the stream has a gap
            error = to_client_error(cause)
            if self._blocks.samples != before:
                self._failure = error
            raise error from None
        return _encoded({"type": "result", "windows": windows, "events": events}) if windows or events else None

    async def _flush(self, start: Start) -> str:
        self._check_going()
        blocks = self._blocks
        assert blocks is not None
        try:
            windows, events = await self._results(blocks.end(), start)
            ended = self._track.finish(blocks.duration_s) if self._track is not None else []
        finally:
            self._blocks, self._failure = self._new_blocks(start), None
            if self._track is not None:
                self._track.reset()
        events += [event.to_dict() for event in ended]
        return _encoded({"type": "flushed", "windows": windows, "events": events})

    def _check_going(self) -> None:
        if self._failure is not None:
            raise AudioError(f'{self._failure} The stream cannot go on; send {{"type": "reset"}} to begin anew.')

    def _samples(self, start: Start, content: bytes) -> NDArray[Any]:
        dtype = np.dtype("<f4" if start.format == "float32" else "<i2")
        frame = dtype.itemsize * start.channels
        if len(content) % frame:
            raise AudioShapeError(
                f"A block of {len(content)} bytes is no whole number of frames of {frame}: {start.channels} times "
                f"{start.format}. Send the rest with the next block."
            )
        most = self._service.limits.stream_block_s
        if len(content) > most * start.sample_rate * frame:
            raise AudioShapeError(f"A block may have up to {most} s of sound here. Send it in parts.")
        return np.frombuffer(content, dtype).reshape(-1, start.channels)

    async def _results(
        self, steps: Iterator[AudioFeatures | None], start: Start
    ) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Windows and events as plain values; features are computed by a reader, in the steps of `BlockStream.steps`."""
        embedded = await self._service.batcher.embed_features(steps)
        if not embedded:
            return [], []
        assert self._blocks is not None
        length, events = min(self._window_s, self._blocks.duration_s), list[Event]()

        def scored() -> list[dict[str, Any]]:
            windows = (scored_window(self._track, start_s, length, vector, events) for start_s, vector in embedded)
            return [_plain(window, with_vector=start.embeddings) for window in windows]

        windows = await self._service.threads.run(scored)  # a block may have hundreds
        return windows, [event.to_dict() for event in events]

    @property
    def _window_s(self) -> float:
        return (self._policy and self._policy.window_s) or self._service.clap.manifest.audio.window_s

    def _new_blocks(self, start: Start) -> BlockStream:
        clap = self._service.clap
        assert self._policy is not None
        return BlockStream(clap.manifest.audio, self._recipe, self._policy, start.sample_rate)


def _plain(window: StreamWindow, *, with_vector: bool) -> dict[str, Any]:
    return {**window.to_dict(), **({"embedding": window.embedding.tolist()} if with_vector else {})}


def _encoded(content: dict[str, Any]) -> str:
    return msgspec.json.encode(content).decode()
