"""`Clap`: sounds and texts in, unit vectors of one space out."""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import replace

import numpy as np

from claprt.arrays import BehaviorDescriptors, Embedding, Embeddings
from claprt.audio import AudioSource, open_sound, split_sources
from claprt.bundle import Bundle
from claprt.cache import VectorCache
from claprt.clip import LongClips, View, at_most, reported, views
from claprt.engine import Engine
from claprt.errors import OptionError, SkippedSourcesWarning
from claprt.fingerprint import fingerprint_of
from claprt.life import Loaded
from claprt.manifest import Manifest
from claprt.many import embedded
from claprt.preprocess import Recipe, prepared_blocks
from claprt.projection import Projection
from claprt.recall import Recall
from claprt.results import EmbeddedSound
from claprt.text import Pace, TextEncoder, Tokenizer, batches_by_length, checked_texts, pad, split_texts

_TEXT_BATCH = 32
_TOKENISED = 64
"""Texts that are tokenised in one step."""
_LABELS_MB = 16
"""Room for the vectors of labels where no cache was given: seven thousand of them."""


class Clap(Loaded):
    """A loaded bundle, or one that a server runs. Made by `load`; safe to use from several threads.

    `close`, or the end of a `with` block, gives back what it holds; `claprt.life` says what copies and pickles are.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        *,
        recipe: Recipe,
        long: LongClips,
        batch_size: int = 8,
        tokenizer: TextEncoder | None = None,
        cache: VectorCache | None = None,
        projection: Bundle | None = None,
    ) -> None:
        super().__init__(bundle.manifest.name)
        self.bundle = bundle
        self.engine = engine
        self.recipe = recipe
        self.long = long
        self.batch_size = batch_size
        self.cache = cache
        """Where vectors of sounds are looked for first; None where none are kept."""
        self._label_cache = VectorCache(memory_mb=_LABELS_MB) if cache is None else cache
        self._recall: Recall | None = None
        self._tokenizer = tokenizer
        self._projection = Projection(projection or bundle)

    def _release(self) -> None:
        self.engine.close()
        self._projection.close()

    @property
    def manifest(self) -> Manifest:
        """Every fact about the bundle."""
        return self.bundle.manifest

    @property
    def provider(self) -> str:
        """What the towers really run on."""
        return self.engine.provider

    @property
    def precision(self) -> str:
        """What the towers compute in: `fp32`, or `int8+fp32` where text differs from audio."""
        return self.engine.precision

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.manifest.embedding_dim

    @property
    def sample_rate(self) -> int:
        """Rate that the model hears at, in Hz, and the rate of arrays for which none is given."""
        return self.manifest.audio.mel.sample_rate

    @property
    def fingerprint(self) -> str:
        """What made a vector, in one word (`fingerprint_of`): vectors are comparable where it is equal."""
        return fingerprint_of(self.manifest, self.recipe.name, self.long.label, self.precision)

    def embed_audio(
        self, sources: AudioSource | Iterable[AudioSource], sample_rate: int | None = None, *, on_error: str = "raise"
    ) -> Embeddings:
        """Vectors of sounds: [dim] for one source, [n, dim] for a list of n, in order.

        Args:
            sources: one source or an iterable of them. A source is a path, the bytes of a file, a binary file object, or
                an array [samples], [channels, samples] or [samples, 2] of any float or integer dtype; also samples with
                their rate, `(samples, rate)` or a dictionary of datasets, and objects of other libraries (docs/tasks.md).
            sample_rate: rate of array sources in Hz; by default the model's own, with an `AssumedRateWarning`. Files state
                theirs, and an array whose own rate is another is an error.
            on_error: `raise`, or `skip` to go on with the others; a skipped source leaves a row of NaN and is named in a
                `SkippedSourcesWarning`. `iter_audio` gives the errors themselves.

        Raises:
            AudioError: a source is no sound that can be embedded.
            OptionError: `on_error` has another value.
            ClosedError: the model was closed.
        """
        if on_error not in ("raise", "skip"):
            raise OptionError(f"on_error={on_error!r} is not known; choose raise or skip.")
        one, sources = split_sources(sources)
        rows = self._stack(sources, sample_rate, on_error)
        return rows[0] if one else rows

    def _stack(self, sources: Iterable[AudioSource], sample_rate: int | None, on_error: str) -> Embeddings:
        rows: list[Embedding] = []
        skipped: list[str] = []
        for sound in self.iter_audio(sources, sample_rate):
            if sound.error is not None and on_error == "raise":
                raise sound.error
            if sound.vector is None:
                skipped.append(f"{sound.source} ({sound.error})")
            rows.append(np.full(self.dim, np.nan, np.float32) if sound.vector is None else sound.vector)
        if skipped:
            named = "; ".join(skipped)
            warnings.warn(f"{len(skipped)} of {len(rows)} sources skipped: {named}", SkippedSourcesWarning, stacklevel=3)
        return np.stack(rows) if rows else np.empty((0, self.dim), np.float32)

    def iter_audio(
        self,
        sources: AudioSource | Iterable[AudioSource],
        sample_rate: int | None = None,
        *,
        progress: Callable[[float], None] | None = None,
    ) -> Iterator[EmbeddedSound]:
        """Embeds sounds one after the other and gives each as soon as it is done, in order, failed ones included.

        Windows of several sounds share a batch of `batch_size`; once there are many, they are decoded and run side by
        side on all cores instead. No more than a few dozen sounds are read ahead of the one that is given.
        Of a sound itself, `windows`, `head` and `fusion` hold a few windows at a time, however long it is; `center` and
        `random` hold its samples, and so does the `kromosynth` recipe. The vector of a sound does not depend on the others.
        One source by itself is taken as a list of it.

        Args:
            sources: see `embed_audio`.
            sample_rate: rate of array sources in Hz.
            progress: called with the seconds of sound that were read since it was last called, from any thread.
        """
        self.check_open()
        _, sources = split_sources(sources)

        def computed(sounds: Iterable[AudioSource]) -> Iterator[EmbeddedSound]:
            return embedded(
                sounds,
                lambda source: self.views(source, sample_rate, progress=progress),
                self.engine,
                batch_size=self.batch_size,
                fused=self.manifest.audio.fused,
                fingerprint=self.fingerprint,
                dim=self.dim,
            )

        if self.cache is None:
            return computed(sources)
        return self.recall.embedded(sources, sample_rate, self.sample_rate, computed)

    @property
    def recall(self) -> Recall:
        """What was embedded before: in the cache that was given, else the labels of this model alone."""
        fingerprint = self.fingerprint
        if self._recall is None or self._recall.fingerprint != fingerprint:
            self._recall = Recall(self._label_cache, fingerprint, self.dim)
        return self._recall

    def views(
        self,
        source: AudioSource,
        sample_rate: int | None = None,
        max_windows: int | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Iterator[View]:
        """What the audio tower takes of a sound: log-mels, window by window, for engines that are driven by hand.

        Args:
            source: see `embed_audio`.
            sample_rate: rate of an array in Hz.
            max_windows: windows that a sound may have; by default any number.
            progress: called with the seconds of each block of the sound as it is read.

        Raises:
            AudioError: the source is no sound, or has more windows than that.
        """
        trusted = self.recipe.peak_normalised  # which leaves nothing of what the levels were
        sound = open_sound(source, sample_rate, self.sample_rate, trust_levels=trusted)
        if max_windows is not None:
            sound = replace(sound, blocks=at_most(max_windows, sound.blocks, sound.rate, self.manifest.audio))
        if progress is not None:
            sound = replace(sound, blocks=reported(sound.blocks, sound.rate, progress))
        blocks = prepared_blocks(sound, self.recipe, self.sample_rate)
        return views(blocks, self.manifest.audio, self.recipe, self.long)

    def embed_text(self, texts: str | Iterable[str]) -> Embeddings:
        """Vectors of texts: [dim] for one string, [n, dim] for a list of n, in order.

        Texts beyond the checkpoint's number of tokens (77) are cut there, as in training. Short texts cost little: they
        are run together with others of their length and never padded to the longest.

        Raises:
            TextError: a text is empty, is not a string, or cannot be encoded.
        """
        self.check_open()
        one, listed = split_texts(texts)
        rows = _result(self._text_steps(listed))
        return rows[0] if one else rows

    def _text_steps(self, texts: Sequence[str], pace: Pace | None = None) -> Generator[None, None, Embeddings]:
        """`embed_text` of a list, which can be left between batches."""
        ids: list[list[int]] = []
        for start in range(0, len(texts), _TOKENISED):
            ids += self.tokenizer.encode(texts[start : start + _TOKENISED])
            yield
        rows = np.empty((len(ids), self.dim), np.float32)
        for positions in batches_by_length(ids, pace.size if pace else _TEXT_BATCH):
            token_ids, mask = pad([ids[position] for position in positions], self.manifest.text.pad_token_id)
            began = time.perf_counter()
            rows[positions] = self.engine.text(token_ids, mask)
            if pace:
                pace.took(mask.size, time.perf_counter() - began)
            yield
        return rows

    def embed_labels(self, texts: str | Iterable[str]) -> Embeddings:
        """Vectors of texts [n, dim] as `embed_text` gives them, kept for the next time: labels come again and again.

        One string is a list of one.

        Raises:
            TextError: a text is empty, is not a string, or cannot be encoded.
        """
        return _result(self.label_steps(texts))

    def label_steps(self, texts: str | Iterable[str], pace: Pace | None = None) -> Generator[None, None, Embeddings]:
        """`embed_labels`, which can be left between batches, whose size `pace` gives; for services."""
        self.check_open()
        recall = self.recall
        _, texts = split_texts(texts)
        keys = [recall.text_key(text) for text in checked_texts(texts)]
        rows = [recall.vector(key) for key in keys]
        missing = [position for position, row in enumerate(rows) if row is None]
        yield
        vectors = yield from self._text_steps([texts[position] for position in missing], pace)
        for position, vector in zip(missing, vectors, strict=True):
            recall.keep_vector(keys[position], vector)
            rows[position] = vector
        return np.array(rows, np.float32).reshape(len(rows), self.dim)

    @property
    def has_projection(self) -> bool:
        """Whether `project` can be asked: there is a projection, and it is on this machine."""
        return self._projection.is_here

    def project(self, embeddings: Embeddings) -> BehaviorDescriptors:
        """Behaviour descriptors in [0, 1]: [descriptors] of one embedding [dim], [n, descriptors] of n of them [n, dim].

        For bundles with a projection (`has_projection`), which `claprt-export projection` puts in.

        Raises:
            OptionError: the bundle has none, or the model is on a server and `load` was given no `projection`.
            ArrayError: `embeddings` has another shape, is not of floats, or holds NaN or infinity.
        """
        self.check_open()
        return self._projection(embeddings)

    @property
    def tokenizer(self) -> TextEncoder:
        """The bundle's tokenizer, read when first used; a server's own where one is asked."""
        if self._tokenizer is None:
            self._tokenizer = Tokenizer(self.bundle.tokenizer_path, self.manifest.text, self.bundle.tokenizer_sha256)
        return self._tokenizer

    def __repr__(self) -> str:
        trained = "" if self.manifest.source.trained else ", untrained"
        return f"<Clap {self.manifest.name} {self.precision} on {self.provider}{trained}>"


def _result(steps: Generator[None, None, Embeddings]) -> Embeddings:
    """What the steps end with."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            return done.value
