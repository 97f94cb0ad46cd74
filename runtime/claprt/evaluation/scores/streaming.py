"""Scores of sounds as they come, with the method names of torchmetrics and without torch."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

import numpy as np

from claprt.arrays import Embeddings
from claprt.audio.sound import AudioSource, split_sources
from claprt.errors import OptionError
from claprt.evaluation.intervals import CONFIDENCE, validate_confidence
from claprt.evaluation.scores.embedding import in_fixed_batches, sound_name
from claprt.evaluation.scores.of_sets import in_order, read_sets
from claprt.evaluation.scores.pair_scores import PairScores, PairSums
from claprt.evaluation.scores.protocols.table import DEFAULT, PROTOCOLS
from claprt.evaluation.scores.provenance import provenance_of
from claprt.evaluation.scores.set_metrics import compare
from claprt.evaluation.scores.set_scores import SetScores, SoundSet, metrics_of
from claprt.tasks.models import Model, resolve_model
from claprt.text.tokenizer import split_texts
from claprt.validation import validate_seed


class ClapScore:
    """The CLAP score of pairs that come batch by batch.

    Example:
        >>> metric = claprt.ClapScore()  # doctest: +SKIP
        >>> metric.update(["dog.wav"], ["a dog barking"])  # doctest: +SKIP
        >>> metric.compute().mean  # doctest: +SKIP
        0.41
    """

    def __init__(self, model: Model = None, *, confidence: float = CONFIDENCE, seed: int = 0) -> None:
        """Start without pairs.

        Args:
            model: A loaded model, whatever else `claprt.load` takes, or None for the default model.
            confidence: Of the interval.
            seed: Of the interval.

        Raises:
            OptionError: If `confidence` is not between 0 and 1, or `seed` is not a whole number from 0 to 2^32 - 1.
        """
        self._confidence, self._seed = validate_confidence(confidence), validate_seed(seed)
        self._clap = in_fixed_batches(resolve_model(model))
        self._sums = PairSums(self._clap.dim)

    def update(
        self, audio: AudioSource | Iterable[AudioSource], text: str | Iterable[str], sample_rate: int | None = None
    ) -> None:
        """Embed pairs and add them.

        Args:
            audio: One sound, or a list of them.
            text: Their texts, as many.
            sample_rate: Rate of arrays in Hz; by default the model's own. Files state theirs.

        Raises:
            AudioError: If a sound cannot be embedded.
            TextError: If a text is empty or not a string.
            OptionError: If there are not as many texts as sounds.
        """
        sources, texts = list(split_sources(audio)[1]), list(split_texts(text)[1])
        if len(sources) != len(texts):
            raise OptionError(f"{len(sources)} sounds and {len(texts)} texts were given; each sound needs its text.")
        first = len(self._sums)
        names = [
            (sound_name(source, first + number), said)
            for number, (source, said) in enumerate(zip(sources, texts, strict=True))
        ]
        vectors = self._clap.embed_text(texts)
        self._sums.add(self._clap.embed_audio(sources, sample_rate), vectors, names)

    def compute(self) -> PairScores:
        """The scores of all pairs since the start or the last `reset`.

        Raises:
            OptionError: If there are none.
        """
        return self._sums.result(provenance_of(self._clap), confidence=self._confidence, seed=self._seed)

    def reset(self) -> None:
        """Forget all pairs."""
        self._sums = PairSums(self._clap.dim)


class AudioDistance:
    """Distances of sounds that come batch by batch from a reference.

    It keeps the vectors, two kilobytes for each sound.

    Example:
        >>> metric = claprt.AudioDistance("fad,kad")  # doctest: +SKIP
        >>> metric.update(["dog.wav", "rain.wav"], real=True)  # doctest: +SKIP
        >>> metric.update(["generated1.wav", "generated2.wav"], real=False)  # doctest: +SKIP
        >>> metric.compute()["fad"]  # doctest: +SKIP
        0.87
    """

    def __init__(
        self,
        metric: str | Sequence[str] = "fad",
        model: Model = None,
        *,
        reference: str | os.PathLike[str] | None = None,
        confidence: float = CONFIDENCE,
        seed: int = 0,
    ) -> None:
        """Start without candidates.

        Args:
            metric: One or more of `fad`, `fad-inf`, `kad` and `precision-recall-density-coverage`.
            model: A loaded model, whatever else `claprt.load` takes, or None for the default model.
            reference: A folder of sounds, a library, or statistics (.npz); None where the reference comes by `update` too.
            confidence: Of the intervals.
            seed: Of subsets and intervals.

        Raises:
            OptionError: If an option has no such value.
            DatasetError: If the reference cannot be read.
            FingerprintError: If its statistics are of another model.
        """
        self._metrics = metrics_of(metric)
        self._confidence, self._seed = validate_confidence(confidence), validate_seed(seed)
        self._clap = in_fixed_batches(resolve_model(model))
        self._reference = None
        if reference is not None:
            (self._reference,) = read_sets(self._clap, [("reference", reference)], PROTOCOLS[DEFAULT])
        self._rows: dict[bool, list[Embeddings]] = {True: [], False: []}
        self._names: dict[bool, list[str]] = {True: [], False: []}

    def update(
        self, audio: AudioSource | Iterable[AudioSource], *, real: bool = False, sample_rate: int | None = None
    ) -> None:
        """Embed sounds and add them.

        Args:
            audio: One sound, or a list of them.
            real: Whether they are of the reference.
            sample_rate: Rate of arrays in Hz; by default the model's own. Files state theirs.

        Raises:
            AudioError: If a sound cannot be embedded.
            OptionError: If the reference was given at the start.
        """
        if real and self._reference is not None:
            raise OptionError(f"The reference is {self._reference.name}; sounds cannot be added to it.")
        sources, names = list(split_sources(audio)[1]), self._names[real]
        self._rows[real].append(self._clap.embed_audio(sources, sample_rate))
        names += [sound_name(source, len(names) + number) for number, source in enumerate(sources)]

    def compute(self) -> SetScores:
        """The distances of all candidates since the start or the last `reset`.

        Raises:
            DatasetError: If a set has too few sounds.
        """
        reference = self._reference or self._set("reference", real=True)
        return compare(
            reference,
            self._set("candidate", real=False),
            self._metrics,
            PROTOCOLS[DEFAULT],
            provenance_of(self._clap),
            confidence=self._confidence,
            seed=self._seed,
        )

    def _set(self, name: str, *, real: bool) -> SoundSet:
        rows = np.concatenate([np.empty((0, self._clap.dim), np.float32), *self._rows[real]])
        return in_order(name, rows, self._names[real])

    def reset(self, *, real: bool = False) -> None:
        """Forget the candidates, and the sounds of the reference that came by `update` if `real`."""
        for side in (False, True) if real else (False,):
            self._rows[side], self._names[side] = [], []
