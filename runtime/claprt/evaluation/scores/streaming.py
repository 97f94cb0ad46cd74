"""Scores of sounds as they come, with the method names of torchmetrics and without torch."""

from __future__ import annotations

from collections.abc import Iterable

from claprt.audio.sound import AudioSource, source_name, split_sources
from claprt.errors import OptionError
from claprt.evaluation.scores.embedding import in_fixed_batches
from claprt.evaluation.scores.intervals import CONFIDENCE, checked_confidence, checked_seed
from claprt.evaluation.scores.pair_scores import PairScores, PairSums
from claprt.evaluation.scores.provenance import provenance_of
from claprt.tasks.functions import Model, resolve_model
from claprt.text.tokenizer import split_texts


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
        self._confidence, self._seed = checked_confidence(confidence), checked_seed(seed)
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
            (
                source_name(source)
                if isinstance(source, str) or hasattr(source, "__fspath__")
                else f"sound {first + number}",
                said,
            )
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
