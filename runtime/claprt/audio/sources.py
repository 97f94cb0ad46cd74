"""What callers hand in as sounds: one or several of them, and each as a path, bytes, a file or an array of numbers.

A sound may come as a dictionary (Hugging Face datasets, ComfyUI), with its rate in a tuple (librosa, soundfile, scipy,
gradio), as numbers in a list, or as an object of another library (`claprt.audio.objects`). What cannot be told for
certain is refused with the call that would be right.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
from numpy.typing import NDArray

from claprt.audio.mappings import name_of, unwrap_mapping
from claprt.audio.objects import (
    BYTE_FORMATS,
    as_array,
    holds_scalars,
    is_known_object,
    is_number,
    is_samples,
    is_typed,
    named,
    unwrap_object,
)
from claprt.errors import AudioShapeError, AudioTypeError, SampleRateError
from claprt.validation import is_missing

if TYPE_CHECKING:
    from typing_extensions import TypeIs

AudioSource: TypeAlias = (
    str
    | os.PathLike[str]
    | bytes
    | bytearray
    | memoryview
    | IO[bytes]
    | NDArray[Any]
    | Mapping[str, Any]
    | list[float]
    | tuple[NDArray[Any], float]
    | tuple[float, NDArray[Any]]
)
"""One sound: a path, the bytes of a file, a file opened in binary mode, or samples. Samples are an array (numpy, or what
numpy can take as one, such as a torch tensor), a list of numbers, or an array with its rate: `(samples, rate)`, or a
dictionary such as `{"array": samples, "sampling_rate": rate}`."""

MIN_RATE, MAX_RATE = 1_000, 768_000
"""Sample rates taken, in Hz."""

_FILE_MARKS = (b"RIFF", b"RF64", b"FORM", b"fLaC", b"OggS", b"ID3", b"\x1aE\xdf\xa3")


@dataclass(frozen=True, slots=True)
class PlainSource:
    """A source without its wrapping."""

    name: str
    source: str | os.PathLike[str] | bytes | bytearray | memoryview | IO[bytes] | NDArray[Any]
    rate: int | None = None
    """Of an array, in Hz; None where neither the source nor the caller states one."""


def is_one_source(sources: object) -> TypeIs[AudioSource]:
    """Whether an argument is one source rather than an iterable of them. Looks at the first element at most."""
    if isinstance(sources, str | os.PathLike | bytes | bytearray | memoryview | Mapping) or is_typed(sources):
        return True
    if isinstance(sources, list | tuple | deque | range):
        return bool(sources) and (is_number(sources[0]) or _is_pair(cast("Sequence[Any]", sources)))
    if isinstance(sources, np.ndarray):
        return sources.ndim == 0 or sources.dtype.kind not in "OUST" or _begins_with_number(sources.flat)
    if hasattr(sources, "read"):
        return True
    if hasattr(sources, "__array__") or hasattr(sources, "__dlpack__"):
        return not holds_scalars(sources) or _begins_with_number(sources)
    return not isinstance(sources, Iterable) or is_known_object(sources)


def split_sources(sources: AudioSource | Iterable[AudioSource]) -> tuple[bool, Iterable[AudioSource]]:
    """Whether one source was given, and the sources: an iterator over that one, else what was given."""
    if is_one_source(sources):
        return True, iter((sources,))
    if named(sources, "pyarrow"):
        return False, (cast("Any", scalar).as_py() for scalar in sources)
    return False, sources


def source_name(source: object) -> str:
    """What to call a source in messages and results: its path or file name, or what kind of thing it is."""
    try:
        return _name(source)
    except Exception:  # noqa: BLE001 - released memory, tensors without a shape: whoever reads it says what is wrong
        return type(source).__name__


def _name(source: object) -> str:  # noqa: PLR0911 - one for each kind
    if isinstance(source, str | os.PathLike):
        return str(os.fsdecode(source))
    if isinstance(source, np.ndarray):
        return f"array[{', '.join(map(str, source.shape))}]"
    if isinstance(source, bytes | bytearray | memoryview):
        return f"bytes[{len(source)}]"
    if isinstance(source, Mapping):
        named_by = name_of(cast("Mapping[Any, Any]", source))
        return "dictionary" if named_by is None else source_name(named_by)
    if isinstance(source, list | tuple | deque | range) or is_typed(source):
        items = cast("Sequence[Any]", source)
        if _is_pair(items):
            return source_name(items[1] if is_number(items[0]) else items[0])
        return f"{type(items).__name__}[{len(items)}]"
    shape = getattr(source, "shape", None)
    if isinstance(shape, tuple) and hasattr(source, "__array__"):
        return f"array[{', '.join(map(str, cast('tuple[Any, ...]', shape)))}]"
    name = getattr(source, "name", None)
    return name if isinstance(name, str) else type(source).__name__


def resolve_source(source: AudioSource, sample_rate: float | None = None) -> PlainSource:
    """A source without its wrapping.

    Args:
        source: See `AudioSource`.
        sample_rate: What the caller says of the rate of arrays, in Hz.

    Raises:
        AudioTypeError: If it cannot be a sound, or another call would be right.
        AudioShapeError: If it holds samples in a shape that one sound does not have.
        AudioDecodeError: If the object's own library cannot decode it.
        SampleRateError: If a rate is not possible, or differs from the one that the source states itself.
    """
    plain, stated = _unwrap(source, None)
    name = source_name(plain if isinstance(plain, np.ndarray) else source)
    if not isinstance(plain, np.ndarray):
        return PlainSource(name, plain)
    given = None if sample_rate is None else check_rate(sample_rate)
    own = None if stated is None else check_rate(stated, f"{name} states")
    if given is not None and own is not None and given != own:
        raise SampleRateError(
            f"{name} states {own} Hz itself, and sample_rate={given} was given. Leave sample_rate out, or pass the samples "
            "alone."
        )
    return PlainSource(name, plain, given if own is None else own)


def check_rate(rate: object, who: str = "sample_rate is") -> int:
    """The rate as an integer.

    Raises:
        SampleRateError: If it is not a whole number of Hz from 1 kHz to 768 kHz.
    """
    if isinstance(rate, bool) or not isinstance(rate, int | float | np.integer | np.floating):
        raise SampleRateError(f"{who} {rate!r}; give a whole number of Hz from {MIN_RATE} to {MAX_RATE}.")
    if not (MIN_RATE <= rate <= MAX_RATE) or rate != int(rate):
        raise SampleRateError(f"{who} {rate} Hz; a whole number from {MIN_RATE} to {MAX_RATE} Hz is taken.")
    return int(rate)


def _unwrap(source: object, rate: object) -> tuple[Any, Any]:  # noqa: PLR0911 - one for each kind
    """A path, bytes, a file or an array of numbers, and the rate that was found on the way.

    Raises:
        AudioTypeError: If it cannot be a sound.
    """
    if type(source) is np.ndarray and source.dtype.kind in "fiu" and source.ndim:
        return _checked_samples(source), rate
    if isinstance(source, str | bytes | bytearray):
        return source, rate
    if isinstance(source, os.PathLike):
        path = os.fspath(cast("os.PathLike[Any]", source))
        return (os.fsdecode(path) if isinstance(path, bytes) else source), rate
    if isinstance(source, memoryview):
        if not _is_held(source):
            raise AudioTypeError(
                "This memoryview was released: its memory is gone. Give the bytes, or keep what holds them."
            )
        if source.format in BYTE_FORMATS:
            return (source if source.c_contiguous else source.tobytes()), rate
        return _unwrap(np.asarray(source), rate)
    if isinstance(source, Mapping):
        inner, stated = unwrap_mapping(cast("Mapping[Any, Any]", source))
        return _unwrap(inner, stated)
    if is_typed(source):
        return (source.tobytes(), rate) if source.typecode == "B" else _unwrap(as_array(source), rate)
    if isinstance(source, list | tuple | deque | range):
        items = cast("Sequence[Any]", source)
        return _unwrap_pair(items) if _is_pair(items) else (_numbers(items), rate)
    found = unwrap_object(source)
    if found is not None:
        inner, stated = found
        return (inner, rate) if inner is source else _unwrap(inner, rate if stated is None else stated)
    if isinstance(source, np.ndarray) and source.ndim == 0 and source.dtype.kind in "OUST":
        return _unwrap(source.item(), rate)
    if isinstance(source, np.ndarray | np.generic) or hasattr(source, "__array__") or hasattr(source, "__dlpack__"):
        return _samples(source), rate
    raise AudioTypeError(_not_a_sound(source))


def _is_held(memory: memoryview) -> bool:
    try:
        return bool(memory.format)
    except ValueError:
        return False


def _unwrap_pair(pair: Sequence[Any]) -> tuple[Any, Any]:
    samples, rate = pair if is_number(pair[1]) else (pair[1], pair[0])
    if not is_samples(samples):
        raise AudioTypeError(
            f"A pair is samples and their rate; got {type(samples).__name__} and {rate!r}. A file states its own: "
            "pass it alone. Raw samples go in as arrays: embed_audio(numpy.frombuffer(raw, numpy.int16), sample_rate=rate)."
        )
    return _unwrap(samples, rate)


def _is_pair(items: Sequence[Any]) -> bool:
    """Whether this is one sound with its rate, in either order."""
    return isinstance(items, tuple) and len(items) == 2 and is_number(items[0]) is not is_number(items[1])


def _begins_with_number(items: Any) -> bool:
    return is_number(next(iter(items), None))


def _samples(source: object) -> NDArray[Any]:
    found = as_array(source)
    if found.dtype.kind == "O":
        numbers = as_array(found.tolist())
        found = numbers if numbers.dtype.kind in "fiu" else found
    if found.dtype.kind in "OUST":
        instead = (
            'Pass one column of a table, such as table["path"].'
            if hasattr(source, "columns")
            else "Paths in an array are several sounds: pass the array itself, not a list with it."
        )
        raise AudioShapeError(
            f"{source_name(found)} is {found.dtype}; samples are real numbers (any float or integer dtype). {instead}"
        )
    return _checked_samples(found)


def _checked_samples(samples: NDArray[Any]) -> NDArray[Any]:
    """Check samples, and return them.

    Raises:
        AudioTypeError: If they are the bytes of a file, which many libraries read into an array.
    """
    if samples.dtype.itemsize == 1 and samples.ndim == 1 and samples[:4].tobytes().startswith(_FILE_MARKS):
        raise AudioTypeError(
            f"{source_name(samples)} holds the bytes of a sound file and not its samples. Pass the bytes: array.tobytes()."
        )
    return samples


def _numbers(items: Sequence[Any]) -> NDArray[Any]:
    """Convert a list of numbers, or of channels that are lists of numbers, to an array.

    Raises:
        AudioTypeError: If it holds anything but numbers.
        AudioShapeError: If its rows differ in length.
    """
    if not isinstance(items, range) and any(isinstance(item, str | bytes | Mapping | os.PathLike) for item in items):
        raise AudioTypeError(
            f"A {type(items).__name__} stands where one sound was expected ({_shown(items)}). Several sounds go in as one "
            "flat list."
        )
    try:
        found = np.asarray(items)
    except Exception as error:  # numpy's own for rows of several lengths, and whatever tensors in a list raise
        lengths = [len(item) if hasattr(item, "__len__") else 1 for item in itertools.islice(cast("Any", items), 4)]
        raise AudioShapeError(
            f"This {type(items).__name__} of {len(items)} is not an array: its rows have {', '.join(map(str, lengths))} "
            "elements. Channels of one sound have one length; several sounds go in as a list of arrays."
        ) from error
    if found.dtype.kind not in "fiu":
        raise AudioTypeError(
            f"This {type(items).__name__} of {len(items)} holds something else than real numbers ({_shown(items)}). "
            "Samples go in as numpy.array(samples), several sounds as one flat list."
        )
    return found


def _not_a_sound(source: object) -> str:
    said = f"A sound is a path, bytes, a binary file or an array; got {type(source).__name__} ({_shown(source)})."
    if is_missing(source):
        return f"{said} Leave missing values out. Samples go in as numpy.array(samples), several sounds as a list."
    if is_number(source):
        return (
            f"{said} A rate goes in by name, embed_audio(samples, sample_rate={source}); samples go in together, as "
            "numpy.array(samples), several sounds as a list of arrays."
        )
    return f"{said} Samples go in as numpy.array(samples), several sounds as a list."


def _shown(source: object) -> str:
    """The beginning of an object's representation; a list of a million numbers is not written out."""
    import reprlib

    short = reprlib.Repr()
    short.maxlist = short.maxtuple = short.maxdeque = 3
    return f"{short.repr(source):.60}"
