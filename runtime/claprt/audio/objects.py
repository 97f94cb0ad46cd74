"""Objects of other libraries that hold a sound. None of them is imported: objects are known by what they can do."""

from __future__ import annotations

import inspect
import os
from collections import deque
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from claprt.errors import AudioDecodeError, AudioTypeError

if TYPE_CHECKING:
    import array

    from typing_extensions import TypeIs

BYTE_FORMATS = frozenset({"B", "b", "c", "<B", "<b", "@B", "@b"})
"""Formats of memory that holds a file rather than samples."""
_TABLES = frozenset({"pandas", "polars", "pyarrow"})


def named(value: object, library: str) -> bool:
    """Whether a library, or one of its subclasses elsewhere, made this object."""
    return any(kind.__module__.partition(".")[0] == library for kind in type(value).__mro__)


def is_typed(value: object) -> TypeIs[array.array[Any]]:
    """Whether this is an array of the standard library, whose module takes a millisecond to import."""
    return named(value, "array")


def is_number(value: object) -> bool:
    """Whether this is one number, of Python or numpy."""
    return isinstance(value, int | float | complex | np.number) and not isinstance(value, bool)


def is_samples(value: object) -> bool:
    """Whether this looks like samples, rather than a file or a sound within a dictionary."""
    if isinstance(value, np.ndarray):
        return value.dtype.kind not in "UST"
    if isinstance(value, str | bytes | bytearray | os.PathLike | Mapping):
        return False
    if isinstance(value, memoryview):
        return value.format not in BYTE_FORMATS
    if isinstance(value, list | tuple | deque):
        items = cast("Sequence[Any]", value)
        return not items or is_number(items[0]) or is_samples(items[0])
    if isinstance(value, range) or is_typed(value):
        return True
    return (hasattr(value, "__array__") or hasattr(value, "__dlpack__")) and not is_known_object(value)


def holds_scalars(values: Any) -> bool:
    """Whether an array of another library is a column of paths or objects, rather than one of numbers."""
    if hasattr(values, "columns"):
        return False
    kind = getattr(getattr(values, "dtype", None), "kind", None)
    if kind is not None:
        return kind in "OUST"
    return any(named(values, library) for library in _TABLES) and as_array(values[:0]).dtype.kind in "OUST"


def is_known_object(source: object) -> bool:
    """Whether `unwrap_object` takes this, or says what would be right."""
    return (
        hasattr(source, "get_all_samples")
        or _has_samples(source)
        or hasattr(source, "get_array_of_samples")
        or hasattr(source, "status_code")
        or (named(source, "IPython") and hasattr(source, "data"))
    )


def is_decoded_anew(source: object) -> bool:
    """Whether looking at an object's samples would mean to decode them."""
    return hasattr(source, "get_all_samples")


def unwrap_object(source: Any) -> tuple[Any, Any] | None:  # noqa: PLR0911 - one for each kind
    """What an object holds, and the rate that it states; None for objects that are not known.

    Files are given back as they are.

    Raises:
        AudioTypeError: If another call would be right; the message names it.
        AudioDecodeError: If the object's own library cannot decode it.
    """
    if inspect.isawaitable(source) or hasattr(source, "__aiter__"):
        raise AudioTypeError(
            f"{type(source).__name__} is read asynchronously: await it first, and pass the bytes that it gives."
        )
    if hasattr(source, "get_all_samples"):  # torchcodec's decoder, which is what datasets gives
        return _decoded(source), None
    if _has_samples(source):  # torchcodec's AudioSamples
        return source.data, source.sample_rate
    if hasattr(source, "get_array_of_samples"):
        return _of_segment(source), source.frame_rate
    if named(source, "IPython") and hasattr(source, "data"):
        return _of_player(source), None
    if hasattr(source, "read"):
        return _readable(source), None
    if hasattr(source, "status_code") and hasattr(source, "content"):
        raise AudioTypeError(f"{type(source).__name__} is an answer over HTTP; its bytes are .content: pass those.")
    if hasattr(source, "as_py"):  # a scalar of pyarrow
        return source.as_py(), None
    if hasattr(source, "read_bytes"):  # a path within an archive
        return source.read_bytes(), None
    return _buffer(source)


def as_array(values: Any) -> NDArray[Any]:
    """Convert an array of another library, or a list, to one of numpy in main memory, such as [channels, samples].

    Raises:
        AudioTypeError: If it cannot be converted.
    """
    if np.ma.is_masked(values):
        raise AudioTypeError(
            "A masked array with masked samples is not a sound; fill them first, for instance with .filled(0)."
        )
    try:
        found = _of_tensor(values) if callable(getattr(values, "detach", None)) else np.asarray(values)
        if found.ndim == 0 and found.dtype.kind == "O" and hasattr(values, "__dlpack__"):  # numpy knows nothing else of it
            found = np.from_dlpack(values)
    except Exception as error:
        reason = str(error).rstrip(".")
        raise AudioTypeError(f"{type(values).__name__} could not be taken as an array: {reason}.") from error
    if found.dtype.kind == "V" and found.dtype.names is None and "float" in found.dtype.name:
        return found.astype(np.float32)  # bfloat16 and smaller, which numpy itself does not have
    return found


def _of_tensor(tensor: Any) -> NDArray[Any]:
    tensor = tensor.detach()
    tensor = tensor.cpu() if callable(getattr(tensor, "cpu", None)) else tensor
    try:
        return np.asarray(tensor)
    except TypeError:
        if not tensor.is_floating_point():
            raise
        return np.asarray(tensor.float())  # bfloat16 and smaller


def _has_samples(source: Any) -> bool:
    return hasattr(source, "sample_rate") and hasattr(getattr(source, "data", None), "__array__")


def _decoded(decoder: Any) -> Any:
    try:
        found = decoder.get_all_samples()
    except Exception as error:  # whatever the other library raises
        raise AudioDecodeError(f"{type(decoder).__name__} could not decode its sound: {error}") from error
    if not _has_samples(found):
        raise AudioTypeError(
            f"get_all_samples() of {type(decoder).__name__} gives {type(found).__name__}, and samples with a rate were "
            "expected. Pass them as embed_audio(samples, sample_rate=rate)."
        )
    return found


def _of_segment(segment: Any) -> NDArray[np.float32]:
    """Samples [channels, samples] of pydub's AudioSegment, whose integers are as wide as they say."""
    samples = np.asarray(segment.get_array_of_samples()).reshape(-1, segment.channels).T
    return (samples.astype(np.float64) / 2.0 ** (8 * segment.sample_width - 1)).astype(np.float32)


def _of_player(player: Any) -> Any:
    """The file inside an IPython.display.Audio.

    Raises:
        AudioTypeError: If it holds an address.
    """
    if isinstance(player.data, bytes) and player.data:
        return player.data
    if getattr(player, "filename", None):
        return player.filename
    raise AudioTypeError("This player holds the address of a sound and not the sound: pass its bytes, or its samples.")


def _readable(file: Any) -> Any:
    if inspect.iscoroutinefunction(file.read):
        inside = ", or its .file" if hasattr(file, "file") else ""
        raise AudioTypeError(
            f"{type(file).__name__} is read asynchronously: pass the bytes, embed_audio(await file.read()){inside}."
        )
    if hasattr(file, "samplerate"):
        raise AudioTypeError(
            f"{type(file).__name__} gives samples and not the bytes of a file: pass its path, or its samples, "
            "embed_audio(file.read(), sample_rate=file.samplerate)."
        )
    return file


def _buffer(source: Any) -> tuple[Any, Any] | None:
    """Memory of another kind, such as arrays of ctypes; what numpy knows is left to it."""
    if hasattr(source, "__array__") or hasattr(source, "__dlpack__"):
        return None
    try:
        return memoryview(source), None
    except (TypeError, BufferError):
        return None
