"""Log-mels of windows that overlap, of a clip that arrives in blocks: every spectrum is computed once.

A frame of a log-mel sees 1024 samples, and windows begin every 480 samples or a multiple of it, so that a frame that lies
within two windows is the same in both. What differs are the frames at a window's ends, which see its reflection there: two
of 1001 on each side. They are computed for each window, as is what depends on a frame's place in it
(`claprt.audio.log_mel.frame_rows`). So a log-mel is that of the window's samples alone, to the bit.

Windows that begin between two frames, that are shorter than the model's and filled up, or that end with the clip, are
computed each from its samples.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import LogMel, Waveform
from claprt.audio.log_mel import frame_rows, log_mel, log_mel_of_rows
from claprt.audio.long_audio import LongAudioPolicy, fit_window
from claprt.audio.windows import WindowStarts
from claprt.bundle.manifest import AudioConfig

_PIECE = 1 << 16
"""Samples that are taken in one step."""


class DenseWindows:
    """The windows of one clip, in bounded memory: two windows of samples and of spectra, 6 MB."""

    def __init__(self, config: AudioConfig, policy: LongAudioPolicy) -> None:
        """Take the checkpoint's front end, and a policy of the mode `windows`."""
        rate, spec = config.mel.sample_rate, config.mel
        window = config.window_samples if policy.window_s is None else max(1, round(policy.window_s * rate))
        hop = max(1, round(policy.hop_s * rate))
        self._config, self._window = config, window
        # a window of the model's length may be given up to a hop longer, as `audio_windows` says
        self._starts = WindowStarts(window, hop, spec.hop if window == config.window_samples else 1)
        self._samples = _Latest(window + hop + 2 * _PIECE)
        self.shares = window == config.window_samples and hop < window and hop % spec.hop == 0
        """Whether windows share their spectra."""
        half = spec.n_fft // 2
        self._inner = slice(-(-half // spec.hop), (window - half) // spec.hop + 1)
        """Frames of a window that see nothing beyond its ends."""
        self._frames = window // spec.hop + 1
        self._rows: _Latest | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that are held."""
        return self._samples.nbytes + (0 if self._rows is None else self._rows.nbytes)

    def push(self, block: Waveform) -> Iterator[tuple[int, LogMel]]:
        """Take the next samples [samples]; gives first samples and log-mels [frames, mels] of windows that are complete."""
        for start in range(0, block.size, _PIECE):
            self._samples.append(block[start : start + _PIECE])
            if self.shares:
                self._add_rows()
            for window in self._starts.ready(self._samples.end):
                yield window, self._log_mel(window)
            self._samples.drop(self._starts.first_needed(self._samples.end))
            if self._rows is not None:
                self._rows.drop(self._starts.first_needed(self._samples.end) // self._config.mel.hop)

    def end(self) -> Iterator[tuple[int, LogMel]]:
        """The window that ends with the clip, unless one has been given that does."""
        start = self._starts.last(self._samples.end)
        if start is not None:
            yield start, self._of_samples(self._samples[start : self._samples.end])

    def _log_mel(self, start: int) -> LogMel:
        if self._rows is None:
            return self._of_samples(self._samples[start : start + self._window])
        spec, inner, first = self._config.mel, self._inner, start // self._config.mel.hop
        window = self._samples[start : start + self._window]
        half, before = spec.n_fft // 2, inner.start
        rows = np.empty((self._frames, self._rows.shape[1]), np.float32)
        rows[inner] = self._rows[first + inner.start : first + inner.stop]
        reach = (before - 1) * spec.hop + half  # samples that the first frames see
        rows[:before] = frame_rows(np.concatenate([window[half:0:-1], window[:reach]]), spec)
        begin = inner.stop * spec.hop - half
        rows[inner.stop :] = frame_rows(np.concatenate([window[begin:], window[-2 : -half - 2 : -1]]), spec)
        return log_mel_of_rows(rows, spec)

    def _of_samples(self, window: Waveform) -> LogMel:
        return log_mel(fit_window(window, self._config), self._config.mel)

    def _add_rows(self) -> None:
        """Spectra of the frames that have become complete."""
        spec = self._config.mel
        half = spec.n_fft // 2
        frame = self._inner.start if self._rows is None else self._rows.end
        last = (self._samples.end - half) // spec.hop
        if last < frame:
            return
        rows = frame_rows(self._samples[frame * spec.hop - half : last * spec.hop + half], spec)
        if self._rows is None:
            capacity = 2 * self._frames + _PIECE // spec.hop
            self._rows = _Latest(capacity, rows.shape[1], begin=frame)
        self._rows.append(rows)


class _Latest:
    """The latest rows of a sequence that grows, by their positions in all of it."""

    def __init__(self, capacity: int, *row: int, begin: int = 0) -> None:
        self.shape = (capacity, *row)
        self._rows = np.empty(self.shape, np.float32)
        self._first = self._needed = self.end = begin
        self.nbytes = self._rows.nbytes

    def append(self, rows: NDArray[Any]) -> None:
        if self.end - self._first + len(rows) > self.shape[0]:
            kept = self._rows[self._needed - self._first : self.end - self._first].copy()
            self._rows[: len(kept)] = kept
            self._first = self._needed
        begin = self.end - self._first
        self._rows[begin : begin + len(rows)] = rows
        self.end += len(rows)

    def drop(self, position: int) -> None:
        """Rows before this position are not needed any more."""
        self._needed = max(self._needed, position)

    def __getitem__(self, positions: slice) -> NDArray[np.float32]:
        return self._rows[positions.start - self._first : positions.stop - self._first]
