"""The protocols. Each row states the steps of one published program; `tests/parity/test_scores.py` runs those programs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType

from claprt.errors import OptionError

DEFAULT = "claprt"


class Resampling(StrEnum):
    """Resamplers to the model's rate."""

    SOXR = "soxr HQ"
    """librosa's default."""
    RESAMPY = "resampy kaiser_best"
    """Of resampy 0.4."""
    TORCHAUDIO = "torchaudio"
    """Its default: six zero crossings under a Hann window."""
    TORCHAUDIO_KAISER = "torchaudio kaiser"
    """Sixty-four zero crossings under a Kaiser window, as fadtk sets it."""
    JULIUS = "julius"


@dataclass(frozen=True, slots=True, kw_only=True)
class Protocol:
    """The steps of one program."""

    name: str
    original: str
    """The program, with the version or commit that the row follows."""
    pairs: bool = True
    """Whether it scores pairs."""
    sets: bool = False
    """Whether it compares sets."""
    resampling: Resampling = Resampling.SOXR
    peak_db: float | None = None
    """Level in dB of full scale that the peak is brought to; None leaves it."""
    wav16: bool = False
    """Whether the sound passes through a 16-bit file after it was resampled."""
    int16: bool = False
    """Whether it is clipped and cut to 16 bits, as LAION does."""
    hop_s: float | None = None
    """Windows from every multiple of this within the sound, with zeros behind its end. None: one window, of a longer sound
    drawn at random, and for a fused checkpoint the whole with three drawn views."""
    storage: str = "float32"
    """What vectors are rounded to before they are compared."""
    own_bandwidth: bool = False
    """Whether a kernel distance takes its bandwidth from the candidates rather than the reference."""
    with_replacement: bool = False
    """Whether subsets for infinitely many sounds are drawn with replacement."""

    @property
    def is_default(self) -> bool:
        """Whether the vectors are those of `Clap.embed_audio`."""
        return self.name == DEFAULT

    @property
    def draws(self) -> bool:
        """Whether windows of long sounds are drawn at random."""
        return not self.is_default and self.hop_s is None

    def windows(self, seed: int, *, fused: bool) -> str:
        """The treatment of long sounds in words, part of fingerprints."""
        if self.hop_s is not None:
            return f"every-{self.hop_s:g}s-zeros"
        return f"{'fusion' if fused else 'random'}-in-order-{seed}"


_FADTK = Protocol(
    name="fadtk",
    original="fadtk 1.1.0",
    pairs=False,
    sets=True,
    resampling=Resampling.TORCHAUDIO_KAISER,
    wav16=True,
    int16=True,
    hop_s=1.0,
    storage="float16",
    with_replacement=True,
)
_ROWS = (
    Protocol(name=DEFAULT, original="the vectors of Clap.embed_audio and Clap.embed_text", sets=True),
    Protocol(name="laion", original="laion-clap 1.1.7, get_audio_embedding_from_filelist", sets=True, int16=True),
    Protocol(
        name="audiocraft",
        original="audiocraft 896ec7c, metrics/clap_consistency.py",
        resampling=Resampling.JULIUS,
    ),
    Protocol(
        name="stable-audio-metrics", original="stable-audio-metrics fd55536, src/clap_score.py", peak_db=-1.0, int16=True
    ),
    Protocol(
        name="frechet-audio-distance",
        original="frechet-audio-distance 0.3.4, clap_score.py and fad.py",
        sets=True,
        resampling=Resampling.RESAMPY,
    ),
    Protocol(
        name="sam-audio",
        original="sam-audio 68b48d4, ranking/clap.py",
        resampling=Resampling.TORCHAUDIO,
        int16=True,
    ),
    _FADTK,
    replace(_FADTK, name="kadtk", original="kadtk 1.1.0", own_bandwidth=True),
)
PROTOCOLS: Mapping[str, Protocol] = MappingProxyType({row.name: row for row in _ROWS})


def find_protocol(name: str, *, pairs: bool = False, sets: bool = False) -> Protocol:
    """The protocol of this name.

    Args:
        name: Of the protocol.
        pairs: It must score pairs.
        sets: It must compare sets.

    Raises:
        OptionError: If there is none, or its program does not compute what is asked for.
    """
    if name not in PROTOCOLS:
        raise OptionError(f"protocol={name!r} is not known; choose one of {', '.join(PROTOCOLS)}.")
    protocol = PROTOCOLS[name]
    if (pairs and not protocol.pairs) or (sets and not protocol.sets):
        what = "scores of pairs" if pairs else "distances of sets"
        fitting = [row.name for row in _ROWS if (row.pairs if pairs else row.sets)]
        raise OptionError(f"{name} does not compute {what} on CLAP vectors; choose one of {', '.join(fitting)}.")
    return protocol
