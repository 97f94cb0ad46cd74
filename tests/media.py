"""Sounds in many containers, made with PyAV's encoders, and boxes of MPEG-4 to alter."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from claprt.audio.files.binary import Memory
from claprt.audio.files.containers import HEAD_BYTES, Container, recognise
from claprt.audio.files.media import open_media

RATE = 48_000
Array = NDArray[np.float32]


def tones(seconds: float = 1.0, rate: int = RATE, channels: int = 2) -> Array:
    """Tones that rise, others in each channel, so that no two places are alike, float32 [channels, samples]."""
    time = np.arange(round(seconds * rate)) / rate
    loud = 0.3 * np.minimum(1.0, time * 4)
    phases = [2 * np.pi * (200 + 60 * index + 250 * time) * time for index in range(channels)]
    return np.stack([loud * np.sin(phase) for phase in phases]).astype("f4")


class _Pipe:
    """Where a program cannot seek back."""

    def __init__(self) -> None:
        self.content = bytearray()

    def write(self, data: bytes) -> int:
        self.content += data
        return len(data)


def encoded(
    form: str,
    codec: str,
    waveform: Array | None = None,
    *,
    rate: int = RATE,
    sample_format: str | None = None,
    options: Mapping[str, str] | None = None,
    pipe: bool = False,
    video: bool = False,
    sound: bool = True,
) -> bytes:
    """A file.

    Args:
        form: FFmpeg's name of the muxer.
        codec: FFmpeg's name of the encoder.
        waveform: [channels, samples]; `tones` if None.
        rate: [Hz]
        sample_format: of the encoder.
        options: of the muxer.
        pipe: the muxer cannot seek back.
        video: with five pictures.
        sound: with sound at all.
    """
    waveform = tones(rate=rate) if waveform is None else waveform
    key = (form, codec, waveform.shape, waveform.tobytes(), rate, sample_format, str(options), pipe, video, sound)
    if key not in _ENCODED:
        _ENCODED[key] = _encoded(form, codec, waveform, rate, sample_format, options or {}, pipe, video, sound)
    return _ENCODED[key]


_ENCODED: dict[object, bytes] = {}
"""Files by what they were made of."""


def _encoded(
    form: str,
    codec: str,
    waveform: Array,
    rate: int,
    sample_format: str | None,
    options: Mapping[str, str],
    pipe: bool,
    video: bool,
    sound: bool,
) -> bytes:
    import av

    layout = {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[len(waveform)]
    file: Any = _Pipe() if pipe else io.BytesIO()
    with av.open(file, "w", format=form, options=dict(options)) as container:
        pictures = cast("Any", container.add_stream("mpeg4", rate=25)) if video else None
        stream = cast("Any", container.add_stream(codec, rate=rate, layout=layout)) if sound else None
        if stream is not None:
            if sample_format:
                stream.format = sample_format
            if codec.startswith("wma"):
                stream.bit_rate = 128_000
        if pictures is not None:
            pictures.width = pictures.height = 32
            for index in range(5):
                picture = av.VideoFrame.from_ndarray(np.full((32, 32, 3), 40 * index, "u1"), format="rgb24")
                container.mux(pictures.encode(picture))
            container.mux(pictures.encode(None))
        if stream is not None:
            for begin in range(0, waveform.shape[1], 4_800):
                packed = np.ascontiguousarray(waveform[:, begin : begin + 4_800].T).reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(packed, format="flt", layout=layout)
                frame.sample_rate, frame.pts = rate, begin
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    return bytes(file.content) if pipe else file.getvalue()


def container_of(content: bytes) -> Container:
    container = recognise(content[:HEAD_BYTES])
    assert container is not None
    return container


def decoded(content: bytes, container: Container | None = None) -> tuple[int, int, Array]:
    """Rate [Hz], number of channels and mono samples [samples]."""
    opened = open_media("sound", Memory(memoryview(content)), container or container_of(content))
    return opened.rate, opened.channels, np.concatenate(list(opened.blocks)).astype("f4")


def likeness(one: Array, other: Array) -> float:
    """The cosine of two sounds over what they have in common."""
    count = min(len(one), len(other))
    one, other = one[:count].astype("f8"), other[:count].astype("f8")
    return float(one @ other / np.sqrt((one @ one) * (other @ other)))


def replaced(content: bytes, path: str, payload: bytes) -> bytes:
    """The file with another payload in the first box at a path such as "moov/trak/mdia", whose parents grow with it."""
    kind, _, rest = path.partition("/")
    at = 0
    while at < len(content):
        size = int.from_bytes(content[at : at + 4], "big")
        if content[at + 4 : at + 8] == kind.encode():
            inner = replaced(content[at + 8 : at + size], rest, payload) if rest else payload
            return content[:at] + (8 + len(inner)).to_bytes(4, "big") + kind.encode() + inner + content[at + size :]
        at += size
    raise LookupError(kind)
