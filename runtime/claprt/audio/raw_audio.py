"""Bytes that are stated to be raw float32 samples: taken as such, or told from what is sent in their place.

Clients send whole files, float64, 16-bit integers and text where raw samples are expected, and all of them can be read as
float32: noise, of which a vector looks like any other vector. Ordinary samples are recognised by one look at their range.
What is out of it is identified: a file is decoded as one, float64 is taken where it is certain, and the rest is refused
with a sentence that says what it looks like. What cannot be told apart is float16, and channels that are interleaved.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Waveform
from claprt.audio.decode import float_samples
from claprt.audio.files.containers import HEAD_BYTES, Reader, recognise
from claprt.audio.files.magic import MAGIC
from claprt.errors import AudioDecodeError

LOUDEST = 2.0**20
"""Above what 16-bit integers reach that became float32 as they are. Larger samples are looked at more closely."""
_RANGE = 2.0**-50
"""Nearly all samples of a sound are more than this share of the largest one, or zero."""
_SUBNORMAL = 2.0**-126
_INAUDIBLE = 2.0**-40
_NOTHING = 2.0**-100
"""What most samples are below where the first byte is one of the last bits of floats of the other byte order."""
_LOW_BITS = np.uint32(0x1FFFFFFF)
"""Those of the lower half of a float64 that are empty where the samples were float32 or integers before."""
_QUIET_NAN = np.uint32(0x003FFFFF)
_PRINTABLE = bytes(range(32, 127)) + b"\t\n\r"
_WORDS = frozenset(magic[:4] for magic, _ in MAGIC if len(magic) >= 4 and magic[:4].isalnum())
"""How files begin whose other bytes could all be samples."""
_GLANCE = 512
"""Bytes that say whether it is text."""
_ENOUGH = 32
"""Samples below which no other format than float32 is read out of the bytes."""
_ADVICE = "Send little-endian float32 mono in [-1, 1], or the bytes of a whole sound file."


def raw_source(data: bytes) -> bytes | Waveform:
    """What was sent as raw little-endian float32 mono.

    Args:
        data: Bytes of a message.

    Returns:
        The samples [samples], rounded where the bytes can be nothing but float64. Or the bytes themselves where they are a
        sound file, which states its own rate.

    Raises:
        AudioDecodeError: If the bytes are neither; the message states what they look like.

    Example:
        >>> raw_source(np.float32([0.5, -0.5]).tobytes()).tolist()
        [0.5, -0.5]
    """
    if not len(data) % 4:
        samples = float_samples(data)
        return samples if _is_ordinary(samples, data[:_GLANCE]) else _identified(data, samples)
    if (file := _as_file(data)) is None:
        _identified(data, float_samples(data[: len(data) // 4 * 4]))
    return file or float_samples(data)  # which refuses bytes that are not a multiple of four


def check_samples(name: str, samples: Waveform) -> Waveform:
    """The samples themselves, where they are what a client made of its sound as float32.

    Args:
        name: Of the array, for messages.
        samples: [samples] float32, mono, nominally in [-1, 1].

    Raises:
        AudioDecodeError: If they are the bytes of something else; the message states of what.
    """
    samples = np.ascontiguousarray(samples)
    head = samples[: _GLANCE // 4].tobytes()
    if not _is_ordinary(samples, head) and _identified(samples.tobytes(), samples) is not samples:
        raise AudioDecodeError(f"{name} holds the bytes of something else, such as a file or float64. {_ADVICE}")
    return samples


def _is_ordinary(samples: Waveform, head: bytes) -> bool:
    """Whether samples are in the range of sounds, and nothing speaks for another format: one look at each."""
    if not samples.size:
        return True
    with np.errstate(invalid="ignore"):
        peak, first = max(float(samples.max()), -float(samples.min())), abs(float(samples[0]))
    if peak == 0:
        return True
    if not _INAUDIBLE <= peak < LOUDEST or 0 < first < _SUBNORMAL or head[:4] in _WORDS:
        return False
    begin = np.abs(samples[:_GLANCE])
    if 2 * np.count_nonzero((begin > 0) & (begin < _NOTHING)) > np.count_nonzero(begin):
        return False
    lower = samples.view(np.uint32)[::2]
    if not (lower[:_GLANCE] & _LOW_BITS).any() and not (lower & _LOW_BITS).any():
        return False
    return not (peak < 2.0**-10 and _is_text(head))  # digits and signs are numbers from 1e-19 to 1e-4


def _identified(data: bytes, samples: Waveform) -> bytes | Waveform:
    words, strange = samples.view(np.uint32), _strange(samples)
    if (strange.any() or data[:4] in _WORDS) and (file := _as_file(data)) is not None:
        return file
    if _is_text(data, 0 if strange.any() else 8):
        raise AudioDecodeError(
            f"The bytes that were sent as samples are text that begins with {data[:24].decode(errors='replace')!r}. "
            f"JSON goes into a text message. {_ADVICE}"
        )
    if _has_true_nans(samples, words):
        return samples
    doubles = np.frombuffer(data, "<f8") if len(data) % 8 == 0 else np.empty(0)
    if _is_double(doubles, words):
        return doubles.astype(np.float32)
    loud = ~(np.abs(samples) < LOUDEST)
    quiet = (np.abs(samples) < _INAUDIBLE) & (samples != 0)
    is_nothing = not loud.any() and 2 * np.count_nonzero(quiet) > np.count_nonzero(samples)
    if is_nothing:  # a few levels say nothing
        is_nothing = np.unique(samples[: 64 * _ENOUGH]).size > 8
    quiet_integers = not loud.any() and np.abs(samples).max(initial=0) < _INAUDIBLE and _is_int16(words)
    width = _swapped_width(data, samples) if loud.any() or is_nothing else None
    if width is None and (_is_scaled(samples) if loud.any() else not quiet_integers):
        return samples
    if width is not None:
        raise AudioDecodeError(f"{_misread(strange)} They look like big-endian float{width}. {_ADVICE}")
    bits, divisor = _integer_bits(data, words) if strange.sum() > 0.1 * np.count_nonzero(words) else (0, 0)
    if bits:
        raise AudioDecodeError(
            f"{_misread(strange)} They look like {bits}-bit integers: divide them by {divisor} and send float32, or send "
            "the bytes of the whole WAV file."
        )
    raise AudioDecodeError(f"{_misread(loud)} They may be integers of another size, or compressed sound. {_ADVICE}")


def _strange(samples: Waveform) -> NDArray[np.bool_]:
    """Which samples hardly a sound has: not finite, far too loud, or below the smallest normal number and not zero."""
    level = np.abs(samples)
    return ~(level < LOUDEST) | ((level < _SUBNORMAL) & (level > 0))


def _is_scaled(samples: Waveform) -> bool:
    """Whether loud samples are of one sound, as integers that became float32: bytes of something else have every size."""
    level = np.abs(samples[samples != 0])
    return bool(np.isfinite(level).all() and (level < _RANGE * level.max()).mean() < 0.1)


def _misread(strange: NDArray[np.bool_]) -> str:
    return (
        f"The {4 * strange.size} bytes that were sent as float32 samples are something else: {np.count_nonzero(strange)} "
        f"of {strange.size} would be beyond a million times full scale, not finite, or next to nothing."
    )


def _as_file(data: bytes) -> bytes | None:
    """The bytes, where they begin as a sound file does.

    Raises:
        AudioDecodeError: If they begin like another file that is not text.
    """
    head = data[:HEAD_BYTES]
    container = recognise(head)
    if container is None or (container.reader is Reader.NONE and not head.translate(None, _PRINTABLE)):
        return None
    if container.reader is Reader.NONE:
        raise AudioDecodeError(f"The bytes that were sent as samples are {container.name}. {_ADVICE}")
    return data


def _is_text(data: bytes, kinds: int = 8) -> bool:
    """Whether bytes begin with so many different groups of four letters that they cannot be one constant sample."""
    head = data[:_GLANCE]
    if len(head) < 8 or head.translate(None, _PRINTABLE):
        return False
    return len({head[start : start + 4] for start in range(0, len(head), 4)}) > min(kinds, len(head) // 8)


def _is_double(doubles: NDArray[np.float64], words: NDArray[np.uint32]) -> bool:
    """Whether bytes are float64 for certain.

    The upper halves of sounds in float64 are near 1 as float32. The lower halves are random bits, a third of which no sound
    has in float32; or they are empty where the samples have been integers or float32 before, and then the values decide:
    they lie on the grid of 16-bit integers, or are louder than float32 samples within full scale can be when read so.
    """
    if doubles.size < _ENOUGH or not np.isfinite(doubles).all():
        return False
    level = np.abs(doubles)
    peak, sounding = float(level.max()), level > 0
    if not 2.0**-60 < peak < 2.0**31:
        return False
    lower, upper = words[::2], np.abs(words[1::2].view(np.float32))[sounding]
    if _strange(lower.view(np.float32))[sounding].mean() > 0.1:
        return bool(((upper > 2.0**-12) & (upper < 8)).mean() > 0.99)
    if (lower & _LOW_BITS).any():
        return False
    kinds = np.unique(level[sounding][: 64 * _ENOUGH]).size
    steps = level * 2.0**15
    if kinds >= 8 and peak < 64 and bool((steps == np.rint(steps)).all()):
        return True
    beyond = bool((upper > 1).all()) or (kinds >= _ENOUGH and peak > 2.0**-6 and bool((upper > 0.2).all()))
    return bool(beyond and sounding.mean() > 0.5)


def _swapped_width(data: bytes, samples: Waveform) -> int | None:
    """How wide floats of the other byte order are, where it makes sound of the bytes; or None."""
    if len(data) % 8 == 0:
        doubles = np.frombuffer(data, ">f8").astype("<f8")
        if _is_double(doubles, doubles.view(np.uint32)):
            return 64
    swapped = samples.byteswap()
    return 32 if not _strange(swapped).any() and 1e-6 < np.abs(swapped).max() < 1e5 else None


def _integer_bits(data: bytes, words: NDArray[np.uint32]) -> tuple[int, int]:
    """The size of integers and what they are to be divided by; or zeros.

    The first bytes of integers are distributed unlike their last ones, as those of sounds are. Narrow ones in wider ones
    have nothing in the upper half but the sign.
    """
    for size in (8, 4):
        wide = np.frombuffer(data, f"<i{size}") if len(data) % size == 0 else np.empty(0, np.int64)
        if wide.size >= _ENOUGH and wide.any() and wide.min() >= -(1 << 15) and wide.max() < 1 << 15:
            return 8 * size, 1 << 15
    unlike: dict[int, float] = {}
    for size in (2, 3) if _is_int16(words) else (3, 4):
        groups = np.frombuffer(data[: len(data) // size * size], np.uint8).reshape(-1, size)
        groups = groups[groups.any(axis=1)]
        # by the upper half of a byte, and by whether there is nothing in it but the sign
        kinds = (groups >> 4) + 16 * np.isin(groups, (0, 255))
        first, last = (np.bincount(kinds[:, place], minlength=32) / max(1, len(groups)) for place in (0, size - 1))
        unlike[size] = float(np.abs(first - last).sum())
    size = max(unlike, key=lambda size: unlike[size])
    return (8 * size, 1 << (8 * size - 1)) if unlike[size] > 0.25 else (0, 0)


def _is_int16(words: NDArray[np.uint32]) -> bool:
    """Whether the two halves of words are distributed alike, as neighbouring samples are; those of float32 never are."""
    if words.size < _ENOUGH or ((words == words[0])[: 64 * _ENOUGH].all() and (words == words[0]).all()):
        return False
    halves = words.view(np.int16).reshape(-1, 2)
    levels = np.abs(halves.astype(np.int32)).mean(axis=0)
    if not 0 < levels.max() < 2 * levels.min():
        return False
    counts = [np.bincount((half.astype(np.int32) + 32768) >> 12, minlength=16) for half in halves.T]
    return bool(np.abs(counts[0] - counts[1]).sum() < 0.5 * len(words))


def _has_true_nans(samples: Waveform, words: NDArray[np.uint32]) -> bool:
    """Whether samples are float32 but for NaN and infinity, as computations leave them."""
    finite = np.isfinite(samples)
    if finite.all() or (words[~finite] & _QUIET_NAN).any():
        return False
    return _strange(samples[finite]).mean() < 0.1 if finite.any() else True
