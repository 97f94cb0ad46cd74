"""How good a bundle is on a labelled dataset: zero-shot classification, and retrieval where there are captions.

Sources: zero-shot evaluation as in LAION-CLAP (Wu et al. 2023, arXiv:2211.06687), whose ESC-50 figures are of the template
"This is a sound of {}."; recall and mAP@10 as in the language-based audio retrieval task of DCASE.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Embeddings
from claprt.errors import DatasetError, MissingDependencyError, OptionError
from claprt.evaluation.dataset import Dataset
from claprt.model.clap import Clap
from claprt.system.extras import install_hint
from claprt.tasks.labels import apply_template, validate_labels

DEFAULT_TEMPLATE = "This is a sound of {}."
"""The sentence that LAION's published figures are of."""

CONVENTIONS = ("claprt", "laion")
"""How the mean average precision of audio-to-text retrieval is computed; see `retrieval`."""

Report = Callable[[Iterable[Any], int], Iterable[Any]]
"""Wraps an iterable of known length, to show progress."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ZeroShot:
    """Zero-shot classification with one template."""

    template: str
    labels: tuple[str, ...]
    confusion: NDArray[np.int64]
    """[labels, labels]: how often a sound of the row's class was given the column's."""
    top5: float
    """Share of sounds whose class is among the five labels that fit best."""

    @property
    def top1(self) -> float:
        """Share of sounds whose class fits best."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def by_class(self) -> dict[str, tuple[int, float, float]]:
        """For each class: its sounds, recall, and precision (NaN where no sound was given the class)."""
        right, actual, given = np.diag(self.confusion), self.confusion.sum(1), self.confusion.sum(0)
        with np.errstate(invalid="ignore"):
            recall, precision = right / actual, right / given
        return {
            label: (int(actual[row]), float(recall[row]), float(precision[row])) for row, label in enumerate(self.labels)
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "template": self.template,
            "top1": self.top1,
            "top5": self.top5,
            "labels": list(self.labels),
            "confusion": self.confusion.tolist(),
            "classes": {
                label: {"sounds": count, "recall": _plain(recall), "precision": _plain(precision)}
                for label, (count, recall, precision) in self.by_class.items()
            },
        }


def _plain(value: float) -> float | None:
    return None if np.isnan(value) else value


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """Ranking of candidates for queries, some of which are right."""

    queries: int
    recall: Mapping[int, float]
    """R@k: share of queries with a right candidate among the first k."""
    map10: float
    """Mean average precision of the first ten, by the convention."""
    convention: str = "claprt"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        recall = {f"R@{k}": share for k, share in self.recall.items()}
        return {"queries": self.queries, **recall, "mAP@10": self.map10, "convention": self.convention}


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluation:
    """What a bundle makes of a dataset."""

    dataset: str
    sounds: int
    fingerprint: str
    trained_on: str | None = None
    """Datasets that the weights were trained on, where the manifest names them; figures on these flatter the model."""
    zero_shot: tuple[ZeroShot, ...] = ()
    text_to_audio: Retrieval | None = None
    audio_to_text: Retrieval | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "dataset": self.dataset,
            "sounds": self.sounds,
            "fingerprint": self.fingerprint,
            "trained_on": self.trained_on,
            "zero_shot": [result.to_dict() for result in self.zero_shot],
            "text_to_audio": None if self.text_to_audio is None else self.text_to_audio.to_dict(),
            "audio_to_text": None if self.audio_to_text is None else self.audio_to_text.to_dict(),
        }


def no_progress(items: Iterable[Any], total: int) -> Iterable[Any]:
    """Pass items through and show nothing."""
    del total
    return items


def evaluate(
    clap: Clap,
    dataset: Dataset,
    *,
    labels: Sequence[str] = (),
    templates: Sequence[str] = (DEFAULT_TEMPLATE,),
    convention: str = "claprt",
    progress: Report = no_progress,
) -> Evaluation:
    """Embeds a dataset and scores it.

    Args:
        clap: The model.
        dataset: What `read_dataset` gave.
        labels: The classes to choose among; by default those of the dataset. All of the dataset's must be among them.
        templates: Sentences with `{}` for the label; each is scored by itself.
        convention: Of retrieval: `claprt`, or `laion` for figures that can be held against LAION's; see `retrieval`.
        progress: Shows progress over the sounds.

    Raises:
        DatasetError: If a sound's class is not among the labels.
        AudioError: If a sound cannot be embedded.
        OptionError: If a template has no `{}`, or the convention is not known.
    """
    check_convention(convention)
    names = tuple(label.replace("_", " ") for label in validate_labels(labels)) if labels else dataset.labels
    strange = sorted(set(dataset.labels) - set(names)) if labels else []
    if strange:
        raise DatasetError(f"{dataset.name} has sounds of {', '.join(strange)}, which are not among the labels.")
    for template in templates:
        apply_template(template, names)
    vectors = dataset_vectors(clap, dataset, progress)
    labelled = [position for position, item in enumerate(dataset.items) if item.label is not None]
    truth = np.array([names.index(str(dataset.items[position].label)) for position in labelled], np.int64)
    captioned = [position for position, item in enumerate(dataset.items) if item.captions]
    captions = [caption for position in captioned for caption in dataset.items[position].captions]
    owner = np.array([n for n, position in enumerate(captioned) for _ in dataset.items[position].captions], np.int64)
    towards_audio = towards_text = None
    if captions:
        cosines = np.einsum("td,ad->ta", clap.embed_text(captions), vectors[captioned])
        right = owner[:, None] == np.arange(len(captioned))
        towards_audio, towards_text = (
            retrieval(cosines, right, convention),
            retrieval(cosines.T, right.T, convention),
        )
    return Evaluation(
        dataset=dataset.name,
        sounds=len(dataset.items),
        fingerprint=clap.fingerprint,
        trained_on=clap.manifest.source.trained_on,
        zero_shot=tuple(
            zero_shot(vectors[labelled], clap.embed_text(apply_template(template, names)), truth, names, template)
            for template in templates
        )
        if labelled
        else (),
        text_to_audio=towards_audio,
        audio_to_text=towards_text,
    )


def dataset_vectors(clap: Clap, dataset: Dataset, progress: Report = no_progress) -> Embeddings:
    """Embed every sound of a dataset: [sounds, dim], in its order.

    Raises:
        AudioError: If a sound cannot be embedded.
    """
    rows: list[NDArray[np.float32]] = []
    for sound in progress(clap.iter_audio([item.path for item in dataset.items]), len(dataset.items)):
        if sound.error is not None:
            raise sound.error
        rows.append(sound.vector)
    return np.stack(rows)


def zero_shot(
    audio: Embeddings, text: Embeddings, truth: NDArray[np.int64], labels: Sequence[str], template: str
) -> ZeroShot:
    """Score vectors of sounds against those of labels.

    Args:
        audio: Of the sounds, [sounds, dim] float32.
        text: Of the labels, [labels, dim] float32.
        truth: Position of each sound's label, [sounds] int64.
        labels: The labels.
        template: The sentence in which they were embedded.
    """
    cosines = np.einsum("ad,ld->al", audio, text)
    ranking = np.argsort(-cosines, axis=1, kind="stable")
    confusion = np.zeros((len(labels), len(labels)), np.int64)
    np.add.at(confusion, (truth, ranking[:, 0]), 1)
    return ZeroShot(
        template=template,
        labels=tuple(labels),
        confusion=confusion,
        top5=float((ranking[:, :5] == truth[:, None]).any(1).mean()),
    )


def retrieval(cosines: NDArray[np.float32], right: NDArray[np.bool_], convention: str = "claprt") -> Retrieval:
    """Score a ranking.

    In LAION's evaluation, the right candidates of a query are numbered in the order of the candidates rather than of their
    ranks, and their number is not limited to ten: `sum(i / rank_i)` over those that rank among the first ten, divided by
    the number of right candidates. For queries with one right candidate that is the average precision; otherwise it is
    larger or smaller, and may be above 1. Published audio-to-text figures are of that kind.

    Args:
        cosines: [queries, candidates] float32.
        right: Which candidates are right, [queries, candidates] bool.
        convention: `claprt` for the average precision, `laion` for LAION's number.

    Raises:
        OptionError: If the convention is not known.
    """
    check_convention(convention)
    order = np.argsort(-cosines, axis=1, kind="stable")
    ranked = np.take_along_axis(right, order, axis=1)
    if convention == "laion":
        map10 = float(np.mean([_laion_precision(row, these) for row, these in zip(order, right, strict=True)]))
    else:
        first = ranked[:, :10]
        precision = np.cumsum(first, axis=1) / np.arange(1, first.shape[1] + 1)
        possible = np.minimum(right.sum(1), 10)
        map10 = float(((precision * first).sum(1) / np.maximum(possible, 1)).mean())
    return Retrieval(
        queries=len(cosines),
        recall={k: float(ranked[:, :k].any(1).mean()) for k in (1, 5, 10)},
        map10=map10,
        convention=convention,
    )


def _laion_precision(order: NDArray[np.int64], right: NDArray[np.bool_]) -> float:
    """LAION's number for one query: candidates by rank [candidates], and which are right [candidates]."""
    ranks = np.argsort(order)[right]
    found = ranks[ranks < 10]
    return float((np.arange(1, found.size + 1) / (found + 1)).sum()) / max(int(right.sum()), 1)


def check_convention(convention: str) -> None:
    """Check the name of a convention.

    Raises:
        OptionError: If it is not known.
    """
    if convention not in CONVENTIONS:
        raise OptionError(f"convention={convention!r} is not known; choose one of {', '.join(CONVENTIONS)}.")


PICTURES = (".png", ".svg", ".pdf")
"""Endings of pictures that can be written."""


def check_picture(path: Path) -> None:
    """Whether a picture could be written there, before the work that it would show is done.

    Raises:
        OptionError: If the path ends in none of `PICTURES`.
        MissingDependencyError: If matplotlib is not installed.
    """
    if path.suffix.lower() not in PICTURES or path.is_dir():
        raise OptionError(f"{path} is not a name for a picture; let it end in {', '.join(PICTURES)}.")
    if importlib.util.find_spec("matplotlib") is None:
        raise MissingDependencyError(f"A picture needs matplotlib: {install_hint('evaluate')}.")


def confusion_picture(result: ZeroShot, path: Path, title: str) -> None:
    """Writes the confusion matrix as a picture.

    Raises:
        OptionError: If the path ends in none of `PICTURES`.
        MissingDependencyError: If matplotlib is not installed.
    """
    check_picture(path)
    from matplotlib.figure import Figure

    count = len(result.labels)
    side = max(4.0, 0.32 * count + 2.2)
    figure = Figure(figsize=(side + 1, side), layout="constrained")
    axes = figure.subplots()
    shares = result.confusion / np.maximum(result.confusion.sum(1, keepdims=True), 1)
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    axes.set_xticks(range(count), result.labels, rotation=90, parse_math=False)
    axes.set_yticks(range(count), result.labels, parse_math=False)
    axes.set_xlabel("given")
    axes.set_ylabel("actual")
    axes.set_title(f"{title}: top-1 {result.top1:.3f}", parse_math=False)
    for row, column in np.argwhere(result.confusion):
        dark = shares[row, column] > 0.5
        axes.text(
            column, row, str(result.confusion[row, column]), ha="center", va="center", color="white" if dark else "black"
        )
    figure.colorbar(image, label="share of the actual class")
    figure.savefig(path, dpi=120)
