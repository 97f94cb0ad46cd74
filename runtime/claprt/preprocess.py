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

from collections.abc import Iterator
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from claprt.arrays import Waveform
from claprt.audio import Sound
from claprt.decode import check_finite
from claprt.errors import EmptyAudioError, NonFiniteAudioError, OptionError
from claprt.resample import Samples, SoxrResampler, resample_kaiser


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
        OptionError: there is none.
    """
    if name not in RECIPES:
        raise OptionError(f"preprocess={name!r} is not known; choose one of {', '.join(RECIPES)}.")
    return RECIPES[name]


def int16_round_trip(samples: Samples) -> Waveform:
    """Clips to [-1, 1] and quantises to 16 bits, towards zero, as LAION does to every sound.

    Example:
        >>> int16_round_trip(np.array([0.0, 1.5, -2.0], np.float32)).tolist()
        [0.0, 1.0, -1.0]
    """
    quantised = (np.clip(samples, -1.0, 1.0) * samples.dtype.type(32767.0)).astype(np.int16)
    return quantised.astype(np.float32) / np.float32(32767.0)


def prepared_blocks(sound: Sound, recipe: Recipe, target_rate: int) -> Iterator[Waveform]:
    """Blocks of the sound at the model's rate with the recipe's levels; together at least one sample.

    Raises:
        AudioError: the sound cannot be read to its end.
    """
    blocks = _streamed(sound, target_rate) if recipe.streams else _whole(sound, recipe, target_rate)
    empty = True
    for block in blocks:
        if block.size:
            empty = False
            yield int16_round_trip(block) if recipe.int16_round_trip else _narrowed(sound.name, block)
    if empty:
        raise EmptyAudioError(f"{sound.name} is too short: no sample is left of it at {target_rate} Hz.")


def _narrowed(name: str, samples: Samples) -> Waveform:
    """float32 samples; float64 ones beyond its range are refused."""
    if samples.dtype == np.float32:
        return samples.astype(np.float32, copy=False)
    with np.errstate(over="ignore"):
        return check_finite(name, samples.astype(np.float32)).astype(np.float32, copy=False)


def _streamed(sound: Sound, target_rate: int) -> Iterator[Samples]:
    if sound.rate == target_rate:
        yield from sound.blocks
        return
    held: Samples | None = None
    resampler: SoxrResampler | None = None
    for block in sound.blocks:
        if held is not None:
            resampler = resampler or SoxrResampler(sound.rate, target_rate, held.dtype.name)
            yield _resampled(sound.name, resampler(held, last=False))
        held = block
    if held is not None:
        resampler = resampler or SoxrResampler(sound.rate, target_rate, held.dtype.name)
        yield _resampled(sound.name, resampler(held, last=True))


def _resampled(name: str, samples: Samples) -> Samples:
    """The samples themselves; soxr makes NaN of levels near the end of a dtype's range, and NaN must not become silence."""
    if not np.isfinite(samples).all():
        raise NonFiniteAudioError(f"The levels of {name} are far beyond full scale; scale it to [-1, 1] first.")
    return samples


def _whole(sound: Sound, recipe: Recipe, target_rate: int) -> Iterator[Samples]:
    samples = _narrowed(sound.name, np.concatenate(list(sound.blocks)))
    if recipe.kaiser_resampling and sound.rate != target_rate:
        samples = resample_kaiser(samples, sound.rate, target_rate)
    peak = np.abs(samples).max(initial=0.0)
    yield samples / peak if recipe.peak_normalised and peak > 0 else samples
