"""What happens to a sound between the decoder and the audio tower, as three named recipes.

| recipe         | resampling     | levels                           | shrink of long fused clips | a short clip, fused   |
|----------------|----------------|----------------------------------|----------------------------|-----------------------|
| `laion`        | soxr HQ        | clipped, through int16 and back  | antialiased                | global view only      |
| `transformers` | soxr HQ        | untouched                        | two frames                 | all four views        |
| `kromosynth`   | resampy 0.2.2  | peak to 1, then as `laion`       | antialiased                | global view only      |

The last column: `ClapFeatureExtractor` marks one clip of a batch without long ones as longer, at random; a clip by itself
is therefore always marked, and that is what the recipe reproduces for every clip, whatever its neighbours.

Sources: `hook.py` and `training/data.py` of laion-clap 1.1.7; `feature_extraction_clap.py` of transformers;
`features/clap/clap_extractor.py` of kromosynth-evaluate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import MappingProxyType
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Waveform
from claprt.audio.decode import check_finite
from claprt.audio.resample import KaiserResampler, Samples, SoxrResampler
from claprt.audio.sound import Sound
from claprt.errors import AudioDecodeError, EmptyAudioError, NonFiniteAudioError, OptionError

_KEPT_S = 60
"""Seconds of a sound whose samples are kept until its peak is known; of a longer one they are made twice."""
_PIECE_SAMPLES = 1 << 19
"""Samples at the model's rate that are made at one time."""


class Resampler(Protocol):
    """A resampler that keeps its state from block to block."""

    def __call__(self, block: Samples, *, last: bool) -> Samples:
        """Samples that are ready after this block; after the last one, all that remain."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One way to prepare sounds; vectors of different recipes are not to be mixed."""

    name: str
    int16_round_trip: bool = True
    peak_normalised: bool = False
    kaiser_resampling: bool = False
    antialiased_shrink: bool = True
    short_is_longer: bool = False

    @property
    def streams(self) -> bool:
        """Whether blocks can be prepared before the whole sound is known."""
        return not (self.peak_normalised or self.kaiser_resampling)


RECIPES = MappingProxyType(
    {
        "laion": Recipe(name="laion"),
        "transformers": Recipe(name="transformers", int16_round_trip=False, antialiased_shrink=False, short_is_longer=True),
        "kromosynth": Recipe(name="kromosynth", peak_normalised=True, kaiser_resampling=True),
    }
)


def recipe(name: str) -> Recipe:
    """The recipe of this name.

    Raises:
        OptionError: If the name is unknown.
    """
    if name not in RECIPES:
        raise OptionError(f"preprocess={name!r} is not known; choose one of {', '.join(RECIPES)}.")
    return RECIPES[name]


def int16_round_trip(samples: Samples) -> Waveform:
    """Clip to [-1, 1] and quantise to 16 bits, towards zero, as LAION does to every sound [samples].

    Example:
        >>> int16_round_trip(np.array([0.0, 1.5, -2.0], np.float32)).tolist()
        [0.0, 1.0, -1.0]
    """
    quantised = (np.clip(samples, -1.0, 1.0) * samples.dtype.type(32767.0)).astype(np.int16)
    return quantised.astype(np.float32) / np.float32(32767.0)


def preprocess_blocks(sound: Sound, recipe: Recipe, target_rate: int) -> Iterator[Waveform]:
    """Resample a sound to the model's rate, with the levels of the recipe: blocks [samples] float32, at least one sample.

    Raises:
        AudioError: If the sound cannot be read to its end.
        EmptyAudioError: If no sample is left of it.
    """
    blocks = _streamed(sound, target_rate) if recipe.streams else _levelled(sound, recipe, target_rate)
    empty = True
    for block in blocks:
        if block.size:
            empty = False
            yield level_samples(sound.name, block, recipe)
    if empty:
        raise EmptyAudioError(f"{sound.name} is too short: no sample is left of it at {target_rate} Hz.")


def level_samples(name: str, samples: Samples, recipe: Recipe) -> Waveform:
    """Samples [samples] at the model's rate with the levels of a recipe that streams.

    Raises:
        NonFiniteAudioError: If they are beyond the range of float32.
    """
    return int16_round_trip(samples) if recipe.int16_round_trip else _narrowed(name, samples)


def _narrowed(name: str, samples: Samples) -> Waveform:
    """float32 samples; float64 ones beyond its range are refused."""
    if samples.dtype == np.float32:
        return samples.astype(np.float32, copy=False)
    with np.errstate(over="ignore"):
        return check_finite(name, samples.astype(np.float32)).astype(np.float32, copy=False)


def _streamed(sound: Sound, target_rate: int) -> Iterator[Samples]:
    return _at_rate(sound.name, sound.blocks, sound.rate, target_rate, SoxrResampler)


def _at_rate(
    name: str, blocks: Iterator[Samples], rate: int, target_rate: int, resampler: Callable[[int, int, str], Resampler]
) -> Iterator[Samples]:
    """The blocks at the target rate, never many samples of them at one time."""
    if rate == target_rate:
        for block in blocks:
            yield from _pieces(block, _PIECE_SAMPLES)
        return
    held: Samples | None = None
    made: Resampler | None = None
    for block in blocks:
        for piece in _pieces(block, max(1, _PIECE_SAMPLES * rate // target_rate)):
            if held is not None:
                made = made or resampler(rate, target_rate, held.dtype.name)
                yield check_resampled(name, made(held, last=False))
            held = piece
    if held is not None:
        made = made or resampler(rate, target_rate, held.dtype.name)
        yield check_resampled(name, made(held, last=True))


def _pieces(block: Samples, size: int) -> Iterator[Samples]:
    """The block cut into pieces of up to `size` samples; an empty block is one piece."""
    return (block[start : start + size] for start in range(0, max(1, block.size), size))


def check_resampled(name: str, samples: Samples) -> Samples:
    """Check resampled samples [samples], and return them.

    Raises:
        NonFiniteAudioError: If they are not finite: soxr gives NaN for levels near the end of the range of a dtype.
    """
    if not np.isfinite(samples).all():
        raise NonFiniteAudioError(f"The levels of {name} are far beyond full scale; scale it to [-1, 1] first.")
    return samples


def _levelled(sound: Sound, recipe: Recipe, target_rate: int) -> Iterator[Samples]:
    """Divide the sound by its peak, which is known at its end: a long one is read twice rather than kept.

    Raises:
        AudioDecodeError: If the second reading has another length.
    """
    peak, samples, kept = np.float32(0.0), 0, list[NDArray[np.float32]]()
    for block in _in_float32(sound.name, sound.blocks, sound.rate, recipe, target_rate):
        peak = max(peak, np.abs(block).max(initial=0.0))
        samples += block.size
        if sound.again is None or samples <= _KEPT_S * target_rate:
            kept.append(block)
        else:
            kept.clear()
    if sound.again is not None and samples > _KEPT_S * target_rate:
        levelled = _in_float32(sound.name, sound.again(), sound.rate, recipe, target_rate)
    else:
        levelled = _taken_from(kept)
    for block in levelled:
        samples -= block.size
        yield block / peak if recipe.peak_normalised and peak > 0 else block
    if samples:
        raise AudioDecodeError(f"{sound.name} changed while it was read; try again.")


def _in_float32(
    name: str, blocks: Iterator[Samples], rate: int, recipe: Recipe, target_rate: int
) -> Iterator[NDArray[np.float32]]:
    narrowed = (_narrowed(name, block) for block in blocks)
    resampler = KaiserResampler if recipe.kaiser_resampling else SoxrResampler
    for block in _at_rate(name, narrowed, rate, target_rate, resampler):
        yield block.astype(np.float32, copy=False)


def _taken_from(blocks: list[NDArray[np.float32]]) -> Iterator[NDArray[np.float32]]:
    """The blocks, each let go of before the next is given."""
    blocks.reverse()
    while blocks:
        yield blocks.pop()
