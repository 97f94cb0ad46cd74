"""Linear probes on few sounds of each class."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from claprt.errors import DatasetError, MissingDependencyError, OptionError
from claprt.evaluation.linear_probe import linear_probe

LABELS = ("dog", "rain", "siren")
TRUTH = np.repeat(np.arange(3), 20)


def vectors(spread: float) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    rows = np.eye(3, 16)[TRUTH] + spread * np.random.RandomState(1).normal(size=(60, 16))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def test_classes_that_are_apart() -> None:
    pytest.importorskip("sklearn", reason="needs scikit-learn: the evaluate extra")
    apart = linear_probe(vectors(0.05), TRUTH, LABELS, shots=4)
    assert apart.accuracies == (1.0,) * 10
    noise = np.random.RandomState(2).normal(size=(60, 16)).astype(np.float32)
    assert 0.15 < linear_probe(noise, TRUTH, LABELS, shots=4).mean < 0.55  # a third by chance


def test_draws_are_seeded() -> None:
    pytest.importorskip("sklearn", reason="needs scikit-learn: the evaluate extra")
    first, again, other = (linear_probe(vectors(0.6), TRUTH, LABELS, shots=3, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert first.accuracies != other.accuracies
    assert 0 < first.std < 0.5
    assert first.to_dict()["accuracy"] == pytest.approx(np.mean(first.accuracies))


def test_more_shots_are_better() -> None:
    pytest.importorskip("sklearn", reason="needs scikit-learn: the evaluate extra")
    few, many = (linear_probe(vectors(0.6), TRUTH, LABELS, shots=shots).mean for shots in (1, 15))
    assert many > few + 0.05


def test_what_cannot_be_probed(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = vectors(0.1)
    with pytest.raises(DatasetError, match="'dog' has 20; ask for fewer shots"):
        linear_probe(rows, TRUTH, LABELS, shots=20)
    with pytest.raises(DatasetError, match="the data set has 1"):
        linear_probe(rows, np.zeros(60, np.int64), LABELS)
    with pytest.raises(OptionError, match="shots=0 is not positive"):
        linear_probe(rows, TRUTH, LABELS, shots=0)
    with pytest.raises(OptionError, match="repeats=0 is not positive"):
        linear_probe(rows, TRUTH, LABELS, repeats=0)
    monkeypatch.setitem(sys.modules, "sklearn.linear_model", None)
    with pytest.raises(MissingDependencyError, match=r"scikit-learn: pip install .*\[evaluate\]"):
        linear_probe(rows, TRUTH, LABELS)
