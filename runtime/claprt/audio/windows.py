"""How a clip of any length becomes windows of one length: index arithmetic, deterministic, no sound.

A clip shorter than a window is filled up; a longer one is cut. Every choice here depends on the clip's own length (and
on a seed where the caller gave one), never on its neighbours in a batch or on a global random state.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Waveform


def pad_to(waveform: Waveform, samples: int, how: str = "repeatpad") -> Waveform:
    """Pad a waveform [samples] to a length.

    Args:
        waveform: [n], 1 ≤ n ≤ samples.
        samples: Length of the result.
        how: `repeatpad` tiles as often as the clip fits whole and pads with zeros (LAION's way), `repeat` tiles and
            cuts, `pad` only pads.

    Example:
        >>> pad_to(np.array([1, 2, 3], np.float32), 8).tolist()
        [1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 0.0, 0.0]
        >>> pad_to(np.array([1, 2, 3], np.float32), 8, "repeat").tolist()
        [1.0, 2.0, 3.0, 1.0, 2.0, 3.0, 1.0, 2.0]
    """
    if waveform.size == samples:
        return waveform
    repeats = {"pad": 1, "repeatpad": samples // waveform.size, "repeat": samples // waveform.size + 1}[how]
    filled = np.zeros(samples, waveform.dtype)
    tiled = np.tile(waveform, repeats)[:samples]
    filled[: tiled.size] = tiled
    return filled


def cut_windows(blocks: Iterable[Waveform], window: int, hop: int, tolerance: int = 1) -> Iterator[tuple[int, Waveform]]:
    """Cut a clip into windows [samples] that cover it, with their first samples' positions.

    Windows follow each other every `hop` samples for as long as they fit; if the end is then not covered, one more
    window ends exactly with the clip. So every sample is seen and none is invented. A clip shorter than a window gives
    one shorter window; a clip without samples gives none.

    Fewer than `tolerance` samples beyond a window are not worth a window of their own: that window is given longer instead.
    (Ten seconds at 44.1 kHz become 480001 samples at 48 kHz under librosa's rounding, and the log-mel has the same
    number of frames for 480000 to 480479.)

    Args:
        blocks: The clip, each [samples] of any size.
        window: Samples of a window.
        hop: Samples between window starts.
        tolerance: Samples beyond a window from which there is another one.

    Example:
        >>> [start for start, _ in cut_windows([np.zeros(18, np.float32), np.zeros(7, np.float32)], 10, 10)]
        [0, 10, 15]
        >>> [start for start, _ in cut_windows([np.zeros(20, np.float32)], 10, 5)]
        [0, 5, 10]
        >>> [part.size for _, part in cut_windows([np.zeros(22, np.float32)], 10, 10, tolerance=3)]
        [10, 12]
    """
    held, first, starts = np.empty(0, np.float32), 0, WindowStarts(window, hop, tolerance)
    for block in blocks:
        held = np.concatenate([held, block]) if held.size else block
        for start in starts.ready(first + held.size):
            yield start, held[start - first :][:window]
        drop = starts.first_needed(first + held.size) - first
        held, first = held[drop:], first + drop
    if (start := starts.last(first + held.size)) is not None:
        yield start, held[start - first :]


class WindowStarts:
    """First samples of the windows of a clip that grows, as `cut_windows` cuts it."""

    def __init__(self, window: int, hop: int, tolerance: int = 1) -> None:
        """Take a window, the distance between two, and how many samples beyond a window are worth another one."""
        self._window, self._hop, self._tolerance = window, hop, tolerance
        self._following = 0

    def ready(self, samples: int) -> Iterator[int]:
        """Starts of the windows that are certain now that there are so many samples, each of them given once."""
        while self._following + self._window + self._tolerance <= samples:
            self._following += self._hop
            yield self._following - self._hop

    def first_needed(self, samples: int) -> int:
        """First sample that a window to come may have: the last window ends with the clip, wherever that is."""
        return max(0, min(self._following, samples - self._window))

    def last(self, samples: int) -> int | None:
        """Start of the last window of a clip of so many samples in all, which has all samples from there on, if any."""
        if self._following + self._window <= samples:
            return self._following
        covered = self._following - self._hop + self._window if self._following else 0
        return max(0, samples - self._window) if covered < samples else None


def center_start(samples: int, window: int) -> int:
    """First sample of the middle window.

    Example:
        >>> center_start(25, 10)
        7
    """
    return (samples - window) // 2


def random_start(samples: int, window: int, seed: int) -> int:
    """First sample of the window that LAION's code draws right after `numpy.random.seed(seed)`.

    Source: `get_audio_features` in `laion_clap/training/data.py` of laion-clap 1.1.7 (`rand_trunc`).
    """
    return int(np.random.RandomState(seed).randint(0, samples - window + 1))


def fusion_starts(total_frames: int, frames: int, seed: int | None) -> tuple[int, int, int]:
    """First frames of the three local views of a long clip: front, middle, back.

    The possible positions are cut into thirds. With a seed, one of each third is drawn as LAION's code draws it right
    after `numpy.random.seed(seed)`; without one, the middle of each third is taken. Clips with fewer than three possible
    positions use position 0 where a third is empty.

    Example:
        >>> fusion_starts(1301, 1001, None)
        (50, 150, 250)
    """
    if seed is not None:
        return drawn_fusion_starts(total_frames, frames, np.random.RandomState(seed))
    front, middle, back = (int(third[(third.size - 1) // 2]) for third in _thirds(total_frames, frames))
    return front, middle, back


def drawn_fusion_starts(total_frames: int, frames: int, random: np.random.RandomState) -> tuple[int, int, int]:
    """`fusion_starts` as LAION's code draws them from a generator that other clips draw from too."""
    front, middle, back = (int(random.choice(third)) for third in _thirds(total_frames, frames))
    return front, middle, back


def _thirds(total_frames: int, frames: int) -> list[NDArray[np.int64]]:
    """Possible positions of a view, in thirds; 0 where one is empty."""
    positions = np.arange(total_frames - frames + 1)
    return [third if third.size else np.zeros(1, np.int64) for third in np.array_split(positions, 3)]


def resize_time(log_mel: NDArray[np.float32], frames: int, *, antialias: bool) -> NDArray[np.float32]:
    """A log-mel [total_frames, mels] resized to [frames, mels] along time, bilinear, half-pixel centres.

    Args:
        log_mel: [total_frames, mels] in dB, with total_frames > frames.
        frames: Frames of the result.
        antialias: True averages over all frames that fall together, as `torchvision.transforms.Resize` does on tensors
            and LAION with it; False reads two frames only, as `torch.nn.functional.interpolate` does and transformers
            with it.

    Positions are rounded to float32, as torch rounds them.
    """
    one, half = np.float32(1), np.float32(0.5)
    scale = np.float32(len(log_mel)) / np.float32(frames)
    support = scale if antialias else one
    resized = np.empty((frames, log_mel.shape[1]), np.float32)
    for frame in range(frames):
        center = scale * (np.float32(frame) + half)
        first = max(int(center - support + half), 0)
        last = min(int(center + support + half), len(log_mel))
        distance = np.abs((np.arange(first, last, dtype=np.float32) - center + half) / support)
        weights = np.maximum(np.float32(0), one - distance)
        resized[frame] = np.einsum("f,fm->m", weights / weights.sum(), log_mel[first:last])
    return resized
