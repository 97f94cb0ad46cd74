"""The CLAP score: the mean over pairs of the cosine of a sound's and a text's vector.

Beside it stands what no relation would score, the mean over all pairs of a sound and another pair's text: a score is worth
its distance from that. It needs no drawn permutation: the mean and the mean square over all n² combinations follow from
sums over the vectors, and combinations that share a sound or a text are subtracted, so captions that recur do not count
as unrelated.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from claprt.arrays import Embeddings
from claprt.errors import ArrayError, OptionError
from claprt.evaluation.intervals import CONFIDENCE, LEAST, Interval, exact_mean, exact_std, mean_interval
from claprt.evaluation.scores.exact_sums import ExactSums
from claprt.evaluation.scores.provenance import Provenance

_FEW = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPair:
    """One pair and its cosine."""

    path: str
    text: str
    score: float
    id: str | None = None

    def to_dict(self) -> dict[str, str | float]:
        """Plain values for JSON."""
        named: dict[str, str | float] = {} if self.id is None else {"id": self.id}
        return {**named, "path": self.path, "text": self.text, "score": self.score}


@dataclass(frozen=True, slots=True, kw_only=True)
class Shuffled:
    """Cosines of sounds with the texts of other pairs: what no relation would score."""

    mean: float
    std: float
    combinations: int
    """Combinations of a sound and a text that share neither the sound nor the text."""

    def to_dict(self) -> dict[str, float | int]:
        """Plain values for JSON."""
        return {"mean": self.mean, "std": self.std, "combinations": self.combinations}


@dataclass(frozen=True, slots=True, kw_only=True)
class PairScores:
    """The CLAP score of some pairs."""

    mean: float
    """Mean of the cosines: the CLAP score."""
    std: float
    """Standard deviation of the cosines, divided by n."""
    median: float
    interval: Interval | None
    """Of the mean; None for fewer than 8 pairs."""
    shuffled: Shuffled | None
    """None where all combinations share a sound or a text."""
    items: tuple[ScoredPair, ...]
    """Every pair, in the order given."""
    seed: int
    """Of the interval, and of the protocol where it draws."""
    provenance: Provenance
    warnings: tuple[str, ...] = ()

    def __float__(self) -> float:
        return self.mean

    @property
    def n(self) -> int:
        """Number of pairs."""
        return len(self.items)

    @property
    def citation(self) -> str:
        """One line for a paper."""
        spread = "" if self.interval is None else f" {self.interval.cited}"
        baseline = "" if self.shuffled is None else f", shuffled pairs {self.shuffled.mean:.4f}"
        return f"CLAP score {self.mean:.4f}{spread}, n = {self.n}{baseline}; {self.provenance.line}, seed {self.seed}."

    def to_dict(self) -> dict[str, object]:
        """Plain values for JSON."""
        return {
            "mean": self.mean,
            "std": self.std,
            "median": self.median,
            "n": self.n,
            "interval": None if self.interval is None else self.interval.to_dict(),
            "shuffled": None if self.shuffled is None else self.shuffled.to_dict(),
            "seed": self.seed,
            "model": self.provenance.to_dict(),
            "warnings": list(self.warnings),
            "citation": self.citation,
            "items": [item.to_dict() for item in self.items],
        }


class PairSums:
    """Pairs of vectors, accumulated batch by batch; memory grows by a cosine and the names of each pair."""

    def __init__(self, dim: int) -> None:
        """Start without pairs, for vectors of this length."""
        self._audio, self._text = ExactSums(dim), ExactSums(dim)
        self._cosines: list[float] = []
        self._names: list[tuple[str, str]] = []

    def __len__(self) -> int:
        return len(self._cosines)

    def add(self, audio: Embeddings, text: Embeddings, names: Sequence[tuple[str, str]]) -> None:
        """Add pairs.

        Args:
            audio: Vectors of the sounds, [n, dim] float32.
            text: Vectors of the texts, [n, dim] float32.
            names: Of the sound and of the text of each pair. Combinations of pairs that share a name are not taken for
                unrelated.

        Raises:
            ArrayError: If the vectors do not belong together, or hold NaN or infinity.
        """
        if audio.shape != text.shape or audio.shape != (len(names), len(self._audio.sum)):
            raise ArrayError(
                f"Vectors of {len(names)} pairs are [{len(names)}, {len(self._audio.sum)}]; {list(audio.shape)} of sounds "
                f"and {list(text.shape)} of texts were given."
            )
        first, second = audio.astype(np.float64), text.astype(np.float64)
        lengths = np.sqrt((first**2).sum(axis=1) * (second**2).sum(axis=1))
        with np.errstate(invalid="ignore", divide="ignore"):
            cosines = (first * second).sum(axis=1) / lengths
        if not np.isfinite(cosines).all():
            bad = names[int(np.flatnonzero(~np.isfinite(cosines))[0])]
            raise ArrayError(f"The vectors of the pair {bad[0]}, {bad[1]!r} have no cosine: NaN, infinity or length 0.")
        self._audio.add(audio)
        self._text.add(text)
        self._cosines += np.clip(cosines, -1, 1).tolist()
        self._names += names

    def shuffled(self) -> Shuffled | None:
        """Mean and standard deviation over all combinations that share neither sound nor text."""
        sounds, texts = Counter(sound for sound, _ in self._names), Counter(text for _, text in self._names)
        both = Counter(self._names)
        # a combination that shares a sound or a text has the cosine of one of the two pairs
        weights = np.array([sounds[sound] + texts[text] - both[sound, text] for sound, text in self._names], np.float64)
        cosines, n = np.array(self._cosines), len(self._cosines)
        combinations = n * n - int(weights.sum())
        if combinations <= 0:
            return None
        total = math.fsum([float(self._audio.sum @ self._text.sum), *(-weights * cosines)])
        squares = math.fsum([float((self._audio.products * self._text.products).sum()), *(-weights * cosines**2)])
        mean = total / combinations
        return Shuffled(mean=mean, std=math.sqrt(max(0.0, squares / combinations - mean**2)), combinations=combinations)

    def result(
        self,
        provenance: Provenance,
        *,
        confidence: float = CONFIDENCE,
        seed: int = 0,
        ids: Sequence[str | None] | None = None,
        order: Sequence[int] | None = None,
    ) -> PairScores:
        """The scores of what was added.

        Args:
            provenance: What computed the vectors.
            confidence: Of the interval.
            seed: Of the interval.
            ids: Of the pairs, in the order in which they were added.
            order: Positions of the pairs in the result; by default as they were added.

        Raises:
            OptionError: If there are no pairs.
        """
        n = len(self._cosines)
        if n == 0:
            raise OptionError("There are no pairs to score; give one at least.")
        cosines = np.array(self._cosines, np.float64)
        mean = exact_mean(cosines)
        interval = mean_interval(cosines, confidence=confidence, seed=seed)
        if interval is not None:  # a mean of cosines is between -1 and 1
            interval = replace(interval, low=max(-1.0, interval.low), high=min(1.0, interval.high))
        items = [
            ScoredPair(path=sound, text=text, score=cosine, id=None if ids is None else ids[position])
            for position, ((sound, text), cosine) in enumerate(zip(self._names, self._cosines, strict=True))
        ]
        shuffled = self.shuffled()
        return PairScores(
            mean=mean,
            std=exact_std(cosines, mean),
            median=float(np.median(cosines)),
            interval=interval,
            shuffled=shuffled,
            items=tuple(items if order is None else [items[position] for position in order]),
            seed=seed,
            provenance=provenance,
            warnings=_warnings(n, len(set(self._names)), interval, shuffled, mean, provenance),
        )


def _warnings(
    n: int, different: int, interval: Interval | None, shuffled: Shuffled | None, mean: float, provenance: Provenance
) -> tuple[str, ...]:
    found: list[str] = []
    if n < LEAST:
        found.append(f"{n} pairs are too few for an interval, which needs {LEAST}.")
    elif n < _FEW:
        found.append(f"{n} pairs are few: the interval is wide, and holds only roughly as often as it states.")
    if different < n:
        found.append(
            f"{n - different} of {n} pairs are the same sound and text as another; each counts, and the interval is "
            "too narrow."
        )
    if shuffled is None:
        found.append("All pairs share a sound or a text, so nothing says what unrelated pairs would score.")
    elif interval is not None and shuffled.mean >= interval.low:
        found.append(
            f"Unrelated pairs score {shuffled.mean:.4f}, which the interval of {mean:.4f} does not exclude: these sounds "
            "are not shown to have anything to do with their texts."
        )
    return (*found, *provenance.warnings)
