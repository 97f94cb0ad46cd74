"""Models with the interface of fastembed, which has none for sounds. That library is not needed.

from claprt.integrations.fastembed import AudioEmbedding, TextEmbedding

sounds = list(AudioEmbedding("mini").embed(["dog.wav", "rain.flac"]))
(query,) = TextEmbedding("mini").query_embed("a dog barking")
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from typing import Any

from claprt.arrays import Embedding
from claprt.audio.sound import AudioSource
from claprt.errors import OptionError
from claprt.integrations.models import Model, get_model
from claprt.text.tokenizer import split_texts
from claprt.validation import whole_number


class _Embedding:
    """What both have."""

    def __init__(self, model_name: Model = None, threads: int | None = None, **options: Any) -> None:
        """Load a model.

        Args:
            model_name: What `claprt.load` takes, a loaded model, or None for the default model.
            threads: CPU threads.
            options: Of `claprt.load`, such as `provider` and `precision`.

        Raises:
            ClaprtError: See `claprt.load`.
        """
        self.model = get_model(model_name, threads=threads, **options)
        self.model_name = self.model.manifest.name

    @property
    def embedding_size(self) -> int:
        """Length of an embedding."""
        return self.model.dim


class AudioEmbedding(_Embedding):
    """Embeds sounds, with the methods of `fastembed.ImageEmbedding`."""

    def embed(
        self,
        sounds: AudioSource | Iterable[AudioSource],
        batch_size: int = 16,
        parallel: int | None = None,
        *,
        sample_rate: int | None = None,
    ) -> Iterator[Embedding]:
        """Embed sounds, as they are asked for.

        Args:
            sounds: One or several, as `Clap.embed_audio` takes them; an iterable is read a few dozen ahead.
            batch_size: Without effect; the model has a batch size of its own, to which no vector is subject.
            parallel: None, 0 or 1, without effect: one process reads and embeds on all cores.
            sample_rate: Rate of arrays in Hz.

        Yields:
            [dim] float32 of length 1, in order.

        Raises:
            OptionError: If several processes are asked for.
            AudioError: If a sound cannot be embedded.
        """
        del batch_size
        _check_parallel(parallel)
        for sound in self.model.iter_audio(sounds, sample_rate):
            if sound.error is not None:
                raise sound.error
            if sound.vector is not None:
                yield sound.vector


class TextEmbedding(_Embedding):
    """Embeds texts, with the methods of `fastembed.TextEmbedding`."""

    def embed(
        self, documents: str | Iterable[str], batch_size: int = 256, parallel: int | None = None
    ) -> Iterator[Embedding]:
        """Embed texts, a batch at a time.

        Args:
            documents: One text or several.
            batch_size: Texts that are taken of an iterable at a time.
            parallel: As in `AudioEmbedding.embed`.

        Yields:
            [dim] float32 of length 1, in order.

        Raises:
            OptionError: If several processes are asked for, or the batch size is no number above 0.
            TextError: If a text cannot be embedded.
        """
        _check_parallel(parallel)
        if whole_number("batch_size", batch_size) < 1:
            raise OptionError(f"batch_size={batch_size} is not possible; give 1 or more.")
        texts = iter([documents] if isinstance(documents, str) else documents)
        while batch := list(itertools.islice(texts, batch_size)):
            yield from self.model.embed_text(split_texts(batch)[1])

    def passage_embed(self, texts: Iterable[str], **options: Any) -> Iterator[Embedding]:
        """Embed descriptions as `embed` does: [dim] float32 of length 1 each."""
        yield from self.embed(texts, **options)

    def query_embed(self, query: str | Iterable[str], **options: Any) -> Iterator[Embedding]:
        """Embed what is searched for as `embed` does: [dim] float32 of length 1 each."""
        yield from self.embed(query, **options)


def _check_parallel(parallel: int | None) -> None:
    """Check that no processes are asked for.

    Raises:
        OptionError: If they are.
    """
    if parallel not in (None, 0, 1):
        raise OptionError(
            f"parallel={parallel!r}: one process reads and embeds on all cores; give None. Several, which write a library "
            "of vectors on disk, are `claprt index --workers`."
        )
