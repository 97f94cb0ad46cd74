"""What the towers of a checkpoint take: rates, windows and log-mels of sounds, token ids of texts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from claprt.bundle.metadata import check_range


@dataclass(frozen=True, slots=True, kw_only=True)
class MelSpec:
    """A log-mel front end. Frequencies in Hz, lengths in samples; the window is a periodic Hann of `n_fft` samples."""

    sample_rate: int = 48_000
    n_fft: int = 1024
    hop: int = 480
    mels: int = 64
    f_min: float = 50.0
    f_max: float = 14_000.0
    scale: Literal["slaney", "htk"] = "slaney"
    """Frequency scale on which the filters are equally spaced."""
    norm: Literal["slaney", "none"] = "slaney"
    """`slaney` divides each filter by half its width in Hz; `none` leaves every peak at 1."""
    floor: float = 1e-10
    """Smallest power; 10·log10 of it is the lowest value a log-mel can take."""

    def __post_init__(self) -> None:
        if not 0 <= self.f_min < self.f_max <= self.sample_rate / 2:
            raise ValueError(f"mel range {self.f_min}–{self.f_max} Hz does not fit a rate of {self.sample_rate} Hz")
        if min(self.hop, self.mels) < 1 or self.n_fft < 4 or not 1e-30 <= self.floor < 1:
            raise ValueError("n_fft, hop and mels must be positive, and floor a small power")

    def frames(self, samples: int) -> int:
        """Frames of a centred transform.

        Example:
            >>> MelSpec().frames(480_000)
            1001
        """
        return samples // self.hop + 1


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioConfig:
    """What the audio path of a checkpoint expects."""

    architecture: str
    mel: MelSpec
    window_samples: int = 480_000
    fused: bool = False
    """Whether clips longer than a window are seen as four views (one shrunk, three cropped)."""
    fill: Literal["repeatpad", "repeat", "pad"] = "repeatpad"
    """How a clip shorter than a window is filled up."""

    def __post_init__(self) -> None:
        if self.window_samples <= self.mel.n_fft:
            raise ValueError(f"a window of {self.window_samples} samples is shorter than the transform")
        check_range("window_samples", self.window_samples, 1, 2**25)
        check_range("sample_rate", self.mel.sample_rate, 1, 768_000)
        check_range("n_fft", self.mel.n_fft, 4, 32_768)
        check_range("hop", self.mel.hop, 1, 32_768)
        check_range("mels", self.mel.mels, 1, 1024)
        if self.frames * max(self.mel.mels, self.mel.n_fft) > 2**26:
            raise ValueError(
                f"a window of {self.frames} frames, {self.mel.n_fft} samples and {self.mel.mels} mels each, is larger than "
                "any that this release computes"
            )

    @property
    def views(self) -> int:
        """Log-mels that the audio tower takes for one clip."""
        return 4 if self.fused else 1

    @property
    def frames(self) -> int:
        """Frames of one window."""
        return self.mel.frames(self.window_samples)

    @property
    def window_s(self) -> float:
        """Length of a window in seconds."""
        return self.window_samples / self.mel.sample_rate


@dataclass(frozen=True, slots=True, kw_only=True)
class TextConfig:
    """What the text path of a checkpoint expects."""

    architecture: str
    max_tokens: int = 77
    pad_token_id: int = 1
    vocabulary: int = 50_265

    def __post_init__(self) -> None:
        if self.max_tokens < 3 or not 0 <= self.pad_token_id < self.vocabulary:
            raise ValueError("max_tokens must be at least 3 and pad_token_id one of the vocabulary")
        check_range("max_tokens", self.max_tokens, 3, 65_536)
        check_range("vocabulary", self.vocabulary, 1, 2**24)
