"""A linear probe on few sounds of each class: how well vectors separate classes without any text.

The protocol of mteb's classification tasks, by default: logistic regression on 8 sounds of each class, ten times. Here the
probe is tested on all other sounds, and the draws are seeded.
"""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Embeddings
from claprt.errors import DatasetError, MissingDependencyError, OptionError
from claprt.system.extras import install_hint
from claprt.validation import validate_seed, whole_number

SHOTS = 8
REPEATS = 10
_STEPS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearProbe:
    """Accuracy of probes that were each trained on another draw."""

    shots: int
    """Sounds of each class that a probe was trained on."""
    accuracies: tuple[float, ...]
    """Of each draw, on all sounds that were not drawn."""
    seed: int

    @property
    def mean(self) -> float:
        """Mean over the draws."""
        return float(np.mean(self.accuracies))

    @property
    def std(self) -> float:
        """Standard deviation over the draws, divided by their number."""
        return float(np.std(self.accuracies))

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "shots": self.shots,
            "accuracy": self.mean,
            "std": self.std,
            "accuracies": list(self.accuracies),
            "seed": self.seed,
        }


def linear_probe(
    vectors: Embeddings,
    truth: NDArray[np.int64],
    labels: Sequence[str],
    *,
    shots: int = SHOTS,
    repeats: int = REPEATS,
    seed: int = 0,
) -> LinearProbe:
    """Train and test probes.

    Args:
        vectors: Of the sounds, [sounds, dim] float32.
        truth: Position of each sound's label, [sounds] int64.
        labels: The labels.
        shots: Sounds of each class to train on.
        repeats: Draws.
        seed: Of the draws.

    Raises:
        MissingDependencyError: If scikit-learn is not installed.
        OptionError: If `shots` or `repeats` is not a positive whole number.
        DatasetError: If there are fewer than two classes, or a class has no more than `shots` sounds.
    """
    check_probe(truth, labels, shots)
    if whole_number("repeats", repeats) < 1:
        raise OptionError(f"repeats={repeats} is not positive.")
    learner = _library()
    random = np.random.RandomState(validate_seed(seed))
    accuracies: list[float] = []
    for _ in range(repeats):
        drawn = np.concatenate([random.permutation(np.flatnonzero(truth == number))[:shots] for number in np.unique(truth)])
        others = np.setdiff1d(np.arange(len(truth)), drawn)
        probe = learner.LogisticRegression(max_iter=_STEPS).fit(vectors[drawn], truth[drawn])
        accuracies.append(float((probe.predict(vectors[others]) == truth[others]).mean()))
    return LinearProbe(shots=shots, accuracies=tuple(accuracies), seed=seed)


def check_probe(truth: NDArray[np.int64], labels: Sequence[str], shots: int) -> None:
    """Whether a probe can be trained, before any sound is embedded.

    Args:
        truth: Position of each sound's label, [sounds] int64.
        labels: The labels.
        shots: Sounds of each class to train on.

    Raises:
        MissingDependencyError: If scikit-learn is not installed.
        OptionError: If `shots` is not a positive whole number.
        DatasetError: If there are fewer than two classes, or a class has no more than `shots` sounds.
    """
    if whole_number("shots", shots) < 1:
        raise OptionError(f"shots={shots} is not positive; {SHOTS} sounds of each class are usual.")
    numbers, counts = np.unique(truth, return_counts=True)
    if len(numbers) < 2:
        raise DatasetError(f"A linear probe separates classes, and the data set has {len(numbers)}.")
    least = int(counts.argmin())
    if counts[least] <= shots:
        raise DatasetError(
            f"A probe on {shots} sounds of each class needs one more to be tested on, and {labels[numbers[least]]!r} has "
            f"{counts[least]}; ask for fewer shots."
        )
    _library()


def _library() -> Any:
    try:
        return importlib.import_module("sklearn.linear_model")
    except ImportError as error:
        raise MissingDependencyError(f"Linear probes are trained by scikit-learn: {install_hint('evaluate')}") from error
