"""From whatever a caller has (a path, bytes, an open file, an array) to blocks of mono samples at their own rate.

Files are `claprt.decode`'s; arrays, and what every source has in common, are here.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from claprt.decode import check_finite, open_file
from claprt.errors import (
    AudioError,
    AudioShapeError,
    AudioTypeError,
    EmptyAudioError,
    SampleRateError,
)
from claprt.resample import Samples

if TYPE_CHECKING:
    from typing_extensions import TypeIs

AudioSource: TypeAlias = str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | NDArray[Any]
"""One sound: a path, the bytes of a file, a file opened in binary mode, or an array of samples (numpy, or what numpy can
take as one, such as a torch tensor on the CPU)."""

MIN_RATE, MAX_RATE = 1_000, 768_000
"""Sample rates taken, in Hz."""

MAX_CHANNELS = 16
"""Channels taken; more is nearly always a batch that was meant as a list."""


@dataclass(frozen=True, slots=True)
class Sound:
    """A source that has been opened: its rate, and its samples as an iterator of mono blocks to be used once."""

    name: str
    rate: int
    blocks: Iterator[Samples]
    again: Callable[[], Iterator[Samples]] | None = None
    """Gives the same blocks once more, where the source can be read twice."""


def is_one_source(sources: object) -> TypeIs[AudioSource]:
    """Whether an argument is one source rather than an iterable of them."""
    return (
        isinstance(sources, str | os.PathLike | bytes | bytearray | memoryview)
        or hasattr(sources, "read")
        or hasattr(sources, "__array__")
        or not isinstance(sources, Iterable)
    )


def source_name(source: object) -> str:
    """What to call a source in messages and results: its path or file name, or what kind of thing it is."""
    if isinstance(source, str | os.PathLike):
        return os.fsdecode(source)
    if isinstance(source, np.ndarray):
        return f"array[{', '.join(map(str, source.shape))}]"
    if isinstance(source, bytes | bytearray | memoryview):
        return f"bytes[{len(source)}]"
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else type(source).__name__


def open_sound(source: AudioSource, sample_rate: int | None, default_rate: int) -> Sound:
    """Opens a source; its samples are read, checked and mixed to mono as the blocks are asked for.

    Args:
        source: see `AudioSource`. Arrays are [samples], [channels, samples], or [samples, channels] with two channels
            (with any number up to 16 where the other axis is longer than that); integers are scaled by their full range.
        sample_rate: rate of an array in Hz. Files state their own.
        default_rate: rate of an array for which none was given.

    Raises:
        AudioError: the source is no sound; the message says why.
    """
    if hasattr(source, "__array__") and type(source) is not np.ndarray:
        source = _as_array(source)
    name = source_name(source)
    if isinstance(source, np.ndarray):
        rate = check_rate(default_rate if sample_rate is None else sample_rate)
        array = source
        return Sound(name, rate, _array_blocks(name, array), lambda: _array_blocks(name, array))
    again = _reopened(name, source)
    opened = open_file(name, source)
    try:
        rate = check_rate(opened.rate, f"{name} states")
        if opened.channels > MAX_CHANNELS:
            raise AudioShapeError(f"{name} has {opened.channels} channels; at most {MAX_CHANNELS} are mixed to mono.")
    except AudioError:
        opened.close()
        raise
    return Sound(name, rate, opened.blocks, again)


def _reopened(name: str, source: AudioSource) -> Callable[[], Iterator[Samples]] | None:
    """Opens a file a second time; None for what can be read only once."""
    if not hasattr(source, "read"):
        return lambda: open_file(name, source).blocks
    file = cast("IO[bytes]", source)
    try:
        begin = file.tell() if file.seekable() else None
    except Exception:  # noqa: BLE001 - file objects may raise anything; whoever reads it says what is wrong
        return None

    def again() -> Iterator[Samples]:
        file.seek(begin or 0)
        return open_file(name, file).blocks

    return None if begin is None else again


def _as_array(source: object) -> NDArray[Any]:
    if np.ma.is_masked(source):
        raise AudioTypeError(
            "A masked array with masked samples is no sound; fill them first, for instance with .filled(0)."
        )
    try:
        return np.asarray(source)
    except Exception as error:  # whatever the other library raises
        raise AudioTypeError(f"{type(source).__name__} could not be taken as an array: {error}") from error


def check_rate(rate: float, who: str = "sample_rate is") -> int:
    """The rate as an integer.

    Raises:
        SampleRateError: not a whole number of Hz from 1 kHz to 768 kHz.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float | np.integer | np.floating):
        raise SampleRateError(f"{who} {rate!r}; give a whole number of Hz from {MIN_RATE} to {MAX_RATE}.")
    if not (MIN_RATE <= rate <= MAX_RATE) or rate != int(rate):
        raise SampleRateError(f"{who} {rate} Hz; a whole number from {MIN_RATE} to {MAX_RATE} Hz is taken.")
    return int(rate)


def _array_blocks(name: str, array: NDArray[Any]) -> Iterator[Samples]:
    channels = _channels_first(name, array)
    if channels.shape[1] == 0:
        raise EmptyAudioError(f"{name} holds no samples; a sound needs at least one.")
    mono = _to_float(name, channels).mean(axis=0) if len(channels) > 1 else _to_float(name, channels)[0]
    yield check_finite(name, mono)


def _channels_first(name: str, array: NDArray[Any]) -> NDArray[Any]:
    if array.ndim == 1:
        return array[None]
    if array.ndim != 2:
        raise AudioShapeError(
            f"{name} has {array.ndim} axes; one sound is [samples] or [channels, samples]. For several sounds, pass a "
            "list of arrays."
        )
    first, second = array.shape
    transposed = (second == 2 and first != 2) or (first > MAX_CHANNELS >= second > 0)
    channels = array.T if transposed else array
    if not 1 <= len(channels) <= MAX_CHANNELS:
        raise AudioShapeError(
            f"{name} would be {len(channels)} channels; from 1 to {MAX_CHANNELS} are mixed to mono. For a batch of "
            "sounds, pass a list of arrays."
        )
    return channels


def _to_float(name: str, array: NDArray[Any]) -> Samples:
    """float64 stays float64, every other dtype becomes float32; integers are scaled to [-1, 1)."""
    if array.dtype.kind == "f":
        return array if array.dtype == np.float64 else array.astype(np.float32, copy=False)
    if array.dtype.kind in "iu":
        full_scale = 2.0 ** (8 * array.dtype.itemsize - 1)
        middle = full_scale if array.dtype.kind == "u" else 0.0
        return ((array.astype(np.float64) - middle) / full_scale).astype(np.float32)
    raise AudioShapeError(f"{name} is {array.dtype}; samples are real numbers (any float or integer dtype).")
