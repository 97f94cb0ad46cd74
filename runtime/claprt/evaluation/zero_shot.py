"""How good a bundle is on a labelled dataset: zero-shot classification, and retrieval where there are captions.

Source: zero-shot evaluation as in LAION-CLAP (Wu et al. 2023, arXiv:2211.06687).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt.arrays import Embeddings
from claprt.errors import DatasetError, OptionError
from claprt.evaluation.dataset import Dataset
from claprt.evaluation.dataset_vectors import dataset_vectors
from claprt.evaluation.intervals import Interval, share_interval
from claprt.evaluation.linear_probe import LinearProbe, check_probe, linear_probe
from claprt.evaluation.progress import Report, no_progress
from claprt.evaluation.published import find_published
from claprt.evaluation.retrieval import Retrieval, check_convention, retrieval
from claprt.model.clap import Clap
from claprt.scoring.labels import apply_template, validate_labels

DEFAULT_TEMPLATE = "This is a sound of {}."
"""That of LAION's zero-shot evaluation; its example for ESC-50 has no full stop (`claprt.evaluation.published`)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ZeroShot:
    """Zero-shot classification with one template, or with the mean of several."""

    template: str
    labels: tuple[str, ...]
    confusion: NDArray[np.int64]
    """[labels, labels]: how often a sound of the row's class was given the column's."""
    ranks: NDArray[np.int64]
    """Rank of each sound's own class among the labels, from 0, [sounds]."""
    templates: tuple[str, ...] = ()
    """The templates of an ensemble."""

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the class of each sound fits best, [sounds]; what `claprt.evaluation.comparison.compare` takes."""
        return self.ranks == 0

    @property
    def top1(self) -> float:
        """Share of sounds whose class fits best."""
        return float(self.right.mean())

    @property
    def top5(self) -> float:
        """Share of sounds whose class is among the five labels that fit best."""
        return float((self.ranks < 5).mean())

    @property
    def top1_interval(self) -> Interval:
        """Wilson's interval of `top1`, if the sounds are independent of each other."""
        return share_interval(self.right)

    @property
    def top5_interval(self) -> Interval:
        """The same of `top5`."""
        return share_interval(self.ranks < 5)

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
            "templates": list(self.templates),
            "top1": self.top1,
            "top1_interval": self.top1_interval.to_dict(),
            "top5": self.top5,
            "top5_interval": self.top5_interval.to_dict(),
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
class Evaluation:
    """What a bundle makes of a dataset."""

    dataset: str
    sounds: int
    fingerprint: str
    trained_on: str | None = None
    """Datasets that the weights were trained on, where the manifest names them; figures on these flatter the model."""
    from_library: int = 0
    """Sounds whose vectors a library had."""
    zero_shot: tuple[ZeroShot, ...] = ()
    linear_probe: LinearProbe | None = None
    text_to_audio: Retrieval | None = None
    audio_to_text: Retrieval | None = None

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {
            "dataset": self.dataset,
            "sounds": self.sounds,
            "fingerprint": self.fingerprint,
            "trained_on": self.trained_on,
            "from_library": self.from_library,
            "zero_shot": [result.to_dict() for result in self.zero_shot],
            "linear_probe": None if self.linear_probe is None else self.linear_probe.to_dict(),
            "text_to_audio": None if self.text_to_audio is None else self.text_to_audio.to_dict(),
            "audio_to_text": None if self.audio_to_text is None else self.audio_to_text.to_dict(),
        }


def evaluate(
    clap: Clap,
    dataset: Dataset,
    *,
    labels: Sequence[str] = (),
    templates: Sequence[str] = (DEFAULT_TEMPLATE,),
    ensemble: bool = False,
    published: str | None = None,
    shots: int | None = None,
    seed: int = 0,
    convention: str = "claprt",
    progress: Report = no_progress,
) -> Evaluation:
    """Embed a dataset and score it.

    Args:
        clap: The model.
        dataset: What `read_dataset` gave.
        labels: The classes to choose among; by default those of the dataset. All of the dataset's must be among them.
        templates: Sentences with `{}` for the label; each is scored by itself.
        ensemble: Also score the mean of the templates' vectors for each label, scaled to length 1, as in CLIP.
        published: Name of a published evaluation, whose labels and sentence are taken instead of `labels` and `templates`;
            see `claprt.evaluation.published`.
        shots: Also train a linear probe on so many sounds of each class; see `claprt.evaluation.linear_probe`.
        seed: Of the probe's draws.
        convention: Of retrieval: `claprt`, or `laion` for figures that can be held against LAION's; see `retrieval`.
        progress: Shows progress over the sounds; see `claprt.evaluation.progress`.

    Raises:
        DatasetError: If a sound is not there, its class is not among the labels, or classes have too few sounds for the
            probe.
        FingerprintError: If the dataset's library holds vectors of another model.
        AudioError: If a sound cannot be embedded.
        OptionError: If a template has no `{}`, an ensemble has one template, or a name is not known.
        MissingDependencyError: If a probe is asked for and scikit-learn is not installed.
    """
    check_convention(convention)
    names, prompts = _prompts(dataset, labels, templates, published)
    if ensemble and len(prompts) < 2:
        raise OptionError("An ensemble is the mean of several templates; give two at least.")
    labelled = [position for position, item in enumerate(dataset.items) if item.label is not None]
    truth = np.array([names.index(str(dataset.items[position].label)) for position in labelled], np.int64)
    if shots is not None:
        check_probe(truth, names, shots)
    found_vectors = dataset_vectors(clap, dataset, progress)
    vectors = found_vectors.rows
    towards_audio, towards_text = _retrievals(clap, dataset, vectors, convention)
    found = _zero_shots(clap, vectors[labelled], truth, names, prompts, ensemble) if labelled else ()
    return Evaluation(
        dataset=dataset.name,
        sounds=len(dataset.items),
        fingerprint=clap.fingerprint,
        trained_on=clap.manifest.source.trained_on,
        from_library=found_vectors.from_library,
        zero_shot=found,
        linear_probe=None if shots is None else linear_probe(vectors[labelled], truth, names, shots=shots, seed=seed),
        text_to_audio=towards_audio,
        audio_to_text=towards_text,
    )


def _prompts(
    dataset: Dataset, labels: Sequence[str], templates: Sequence[str], published: str | None
) -> tuple[tuple[str, ...], dict[str, list[str]]]:
    """The classes, and for each template their sentences.

    Raises:
        DatasetError: If a sound's class is not among the labels, or there is one label.
        OptionError: If a template has no `{}`, or there is no such published evaluation.
    """
    row = None if published is None else find_published(published)
    if row is not None:
        names, prompts = row.labels, {row.template: row.sentences(row.labels)}
    else:
        names = tuple(label.replace("_", " ") for label in validate_labels(labels)) if labels else dataset.labels
        prompts = {template: apply_template(template, names) for template in templates}
    if len(names) == 1:
        raise DatasetError(
            f"{dataset.name} has one class, {names[0]!r}, so there is nothing to choose; name others as labels."
        )
    strange = sorted(set(dataset.labels) - set(names))
    if strange:
        raise DatasetError(f"{dataset.name} has sounds of {', '.join(strange)}, which are not among the labels.")
    return names, prompts


def _zero_shots(
    clap: Clap,
    vectors: Embeddings,
    truth: NDArray[np.int64],
    names: tuple[str, ...],
    prompts: Mapping[str, list[str]],
    ensemble: bool,
) -> tuple[ZeroShot, ...]:
    texts = {template: clap.embed_text(sentences) for template, sentences in prompts.items()}
    found = [zero_shot(vectors, text, truth, names, template) for template, text in texts.items()]
    if ensemble:
        mean = np.mean(list(texts.values()), axis=0)
        mean /= np.linalg.norm(mean, axis=1, keepdims=True)
        together = zero_shot(vectors, mean, truth, names, f"mean of {len(texts)} templates")
        found.append(replace(together, templates=tuple(texts)))
    return tuple(found)


def _retrievals(
    clap: Clap, dataset: Dataset, vectors: Embeddings, convention: str
) -> tuple[Retrieval | None, Retrieval | None]:
    """Text to audio, and audio to text; None where there are no captions."""
    captioned = [position for position, item in enumerate(dataset.items) if item.captions]
    captions = [caption for position in captioned for caption in dataset.items[position].captions]
    if not captions:
        return None, None
    owner = np.array([n for n, position in enumerate(captioned) for _ in dataset.items[position].captions], np.int64)
    cosines = np.einsum("td,ad->ta", clap.embed_text(captions), vectors[captioned])
    right = owner[:, None] == np.arange(len(captioned))
    return retrieval(cosines, right, convention), retrieval(cosines.T, right.T, convention)


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
        ranks=(ranking == truth[:, None]).argmax(1),
    )
