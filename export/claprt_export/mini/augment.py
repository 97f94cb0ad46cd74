"""Variations of log-mels: length, level, colour, noise, and mixtures of two sounds.

Everything happens on log-mels in dB, where it costs almost nothing; powers are added where sounds are, so a mixture is
what a mixture of the two waveforms would give on average.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from claprt_export.synthesis.signals import Random

FLOOR_DB = -100.0

Mel = NDArray[Any]
"""[frames, mels] in dB."""


def stretched(random: Random, mel: Mel) -> Mel:
    """A little faster or slower, at the same pitch."""
    frames = max(2, round(len(mel) * random.uniform(0.85, 1.18)))
    return mel[np.minimum((np.arange(frames) * (len(mel) / frames)).astype(int), len(mel) - 1)]


def filled(mel: Mel, frames: int) -> Mel:
    """Repeated as often as it fits, silence after that: what LAION's `repeatpad` makes of a short clip."""
    repeated = np.tile(mel, (frames // len(mel), 1)) if len(mel) <= frames else mel[:frames]
    missing = frames - len(repeated)
    if not missing:
        return repeated
    if missing == 1:
        return np.concatenate([repeated, repeated[-1:]])
    return np.concatenate([repeated, np.full((missing, mel.shape[1]), FLOOR_DB, repeated.dtype)])


def cropped(random: Random, mel: Mel, frames: int) -> Mel:
    """A stretch of so many frames, rather a loud one than a silent one; shorter sounds are filled up."""
    if random.random() < 0.3:
        mel = stretched(random, mel)
    if len(mel) > 120 and random.random() < 0.35:
        mel = _loud_stretch(random, mel, int(random.integers(len(mel) // 3, len(mel))))
    if len(mel) <= frames:
        kept = filled(mel, frames)
        return np.roll(kept, int(random.integers(frames)), axis=0) if random.random() < 0.3 else kept
    return _loud_stretch(random, mel, frames)


def _loud_stretch(random: Random, mel: Mel, frames: int) -> Mel:
    starts = random.integers(0, len(mel) - frames + 1, 3 if random.random() < 0.8 else 1)
    start = max(starts, key=lambda first: float(mel[first : first + frames].max(axis=1).mean(dtype=np.float32)))
    return mel[start : start + frames]


def decibels(power: Tensor) -> Tensor:
    """10 log10 of powers [...] >= 0, not below the front end's floor of -100 dB."""
    return 10 * torch.log10(power.clamp_min(1e-10))


def power(level: Tensor) -> Tensor:
    """Powers [...] of levels [...] in dB."""
    return torch.pow(10.0, level / 10)


def loudness(mels: Tensor) -> Tensor:
    """[batch, frames, mels] to [batch, 1, 1]: level in dB of the mean power."""
    return decibels(power(mels).mean((1, 2), keepdim=True))


def mixed(one: Tensor, other: Tensor, weight: Tensor) -> Tensor:
    """Powers added, after both were brought to the loudness of the first; `weight` [batch] is the share of the first."""
    share = weight[:, None, None]
    level = other + (loudness(one) - loudness(other)).clamp(-60, 60)
    return torch.where(share < 1, decibels(share * power(one) + (1 - share) * power(level)), one)


def varied(mels: Tensor, generator: torch.Generator) -> Tensor:
    """Level, colour, background noise and small gaps, drawn for each sound of [batch, frames, mels]."""
    batch, frames, bins = mels.shape

    def draw(*shape: int) -> Tensor:
        return torch.rand(batch, *shape, generator=generator)

    silent = mels.amax((1, 2), keepdim=True) < FLOOR_DB + 5
    place = torch.linspace(0, 1, bins)
    tilt = sum((draw(1, 1) - 0.5) * 10 / n * torch.cos(torch.pi * n * (place + draw(1, 1))) for n in (1, 2, 3))
    tilt = torch.where(draw(1, 1) < 0.6, torch.as_tensor(tilt), torch.zeros(()))
    gain = draw(1, 1) * 36 - 26
    changed = mels + torch.where(silent, torch.zeros(()), tilt + gain)
    colour = (draw(1, 1) - 0.6) * 30 * (place - 0.5)
    level = loudness(changed) - 8 - draw(1, 1) * 35 + colour
    noisy = draw(1, 1) < 0.35
    noise = power(level) * torch.rand(changed.shape, generator=generator).clamp_min(1e-3).log().neg()
    floor = 10 ** (-8 - 2.2 * draw(1, 1))
    changed = decibels(power(changed) + torch.where(noisy & ~silent, noise, torch.zeros(())) + floor * (draw(1, 1) < 0.5))
    first, length = draw(1, 1) * frames, draw(1, 1) * 0.12 * frames * (draw(1, 1) < 0.3)
    time = torch.arange(frames)[None, :, None]
    low, width = draw(1, 1) * bins, draw(1, 1) * 10 * (draw(1, 1) < 0.3)
    mel = torch.arange(bins)[None, None]
    gap = ((time >= first) & (time < first + length)) | ((mel >= low) & (mel < low + width))
    return torch.where(gap, changed.mean((1, 2), keepdim=True), changed)
