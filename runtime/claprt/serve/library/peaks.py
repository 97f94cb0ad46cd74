"""Outlines of waveforms for the page: the lowest and highest sample of each of a number of stretches."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Generator, Iterator
from io import FileIO

import numpy as np
import soundfile
from msgspec import Struct

from claprt.audio.resample import Samples
from claprt.audio.sound import open_sound
from claprt.errors import AudioError
from claprt.serve.http.page_data import WaveformEnvelope
from claprt.serve.library.errors import NotPlayableError

MOST_COLUMNS = 1000
_MOST_SAMPLES = 30_000_000
"""Samples of all channels that are decoded for one outline: five minutes of stereo at 48 kHz."""
_BLOCK_FRAMES = 1 << 16
_KEPT = 1000
"""Outlines that are kept: 15 MB where they have all columns, 3 MB with those of the page."""
_DIGITS = 3


class Peaks(Struct, kw_only=True):
    """The outline of a waveform, of all channels mixed to one."""

    low: list[float]
    high: list[float]
    seconds: float
    exact: bool
    """Whether all samples were looked at. Of long files only a part of each stretch is."""


class PeaksCache:
    """The outlines that were asked for last."""

    def __init__(self) -> None:
        self._kept: OrderedDict[tuple[object, ...], Peaks] = OrderedDict()

    def get(self, key: tuple[object, ...]) -> Peaks | None:
        """The outline of a key, if it is kept."""
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def put(self, key: tuple[object, ...], peaks: Peaks) -> None:
        """Keep an outline, and forget the one that was not asked for the longest."""
        self._kept[key] = peaks
        self._kept.move_to_end(key)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)


def peaks_of(name: str, file: FileIO, columns: int) -> Generator[None, None, Peaks]:
    """Compute the outline of a file's waveform, a block at a step.

    Args:
        name: For messages.
        file: The file.
        columns: How many stretches, fewer for short sounds.

    Raises:
        NotPlayableError: If the file cannot be decoded, or is too long to be read from its beginning.
    """
    file.seek(0)
    try:
        sound = soundfile.SoundFile(file.fileno(), closefd=False)
    except (soundfile.LibsndfileError, RuntimeError):
        return (yield from _of_media(name, file, columns))
    try:
        with sound:
            return (yield from _of_sound(sound, columns))
    except soundfile.LibsndfileError as error:
        raise NotPlayableError(f"{name} cannot be decoded: {error}.") from error


def _of_sound(sound: soundfile.SoundFile, columns: int) -> Generator[None, None, Peaks]:
    frames, rate = sound.frames, sound.samplerate
    most = _MOST_SAMPLES // sound.channels
    if frames > most and sound.seekable():
        return (yield from _of_parts(sound, columns, most))
    envelope = WaveformEnvelope()
    blocks = sound.blocks(_BLOCK_FRAMES, dtype="float32", always_2d=True, frames=min(frames, most))
    for _ in envelope.watch(block.mean(1) for block in blocks):
        yield
    return _outline(envelope, columns, rate, exact=frames <= most)


def _of_parts(sound: soundfile.SoundFile, columns: int, most: int) -> Generator[None, None, Peaks]:
    """The outline of a long file: the beginning of each stretch is looked at, as much as may be decoded of all."""
    starts = np.linspace(0, sound.frames, columns, endpoint=False).astype(np.int64)
    low, high = list[float](), list[float]()
    for start in starts:
        sound.seek(int(start))
        part = sound.read(max(1, most // columns), dtype="float32", always_2d=True).mean(1)
        low.append(float(part.min(initial=0.0)))
        high.append(float(part.max(initial=0.0)))
        yield
    rounded = [np.round(row, _DIGITS).tolist() for row in (low, high)]
    return Peaks(low=rounded[0], high=rounded[1], seconds=sound.frames / sound.samplerate, exact=False)


def _of_media(name: str, file: FileIO, columns: int) -> Generator[None, None, Peaks]:
    file.seek(0)
    try:
        sound = open_sound(file, None, 48_000)
        envelope = WaveformEnvelope()
        for _ in _split(envelope.watch(sound.blocks)):
            yield
            if envelope.samples > _MOST_SAMPLES:
                raise NotPlayableError(f"{name} is too long to be drawn: its format can only be read from its beginning.")
    except AudioError as error:
        raise NotPlayableError(f"{name} cannot be decoded: {error}") from error
    return _outline(envelope, columns, sound.rate, exact=True)


def _split(blocks: Iterator[Samples]) -> Iterator[None]:
    for _ in blocks:
        yield


def _outline(envelope: WaveformEnvelope, columns: int, rate: int, *, exact: bool) -> Peaks:
    if not envelope.samples:
        return Peaks(low=[], high=[], seconds=0.0, exact=exact)
    low, high = (np.nan_to_num(row).round(_DIGITS).tolist() for row in envelope.columns(columns))
    return Peaks(low=low, high=high, seconds=envelope.samples / rate, exact=exact)
