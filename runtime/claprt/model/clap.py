"""`Clap`: sounds and texts in, unit vectors of one space out."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from claprt.arrays import BehaviorDescriptors, Embedding, Embeddings
from claprt.audio.features import AudioFeatures, audio_features
from claprt.audio.long_audio import LongAudioPolicy
from claprt.audio.preprocess import Recipe
from claprt.audio.sound import AudioSource, split_sources
from claprt.bundle.fingerprint import fingerprint_of
from claprt.bundle.folder import Bundle
from claprt.bundle.manifest import Manifest
from claprt.engines.engine import Engine
from claprt.engines.projection import Projection
from claprt.errors import OptionError, SkippedSourcesWarning
from claprt.model.batching import embed_all
from claprt.model.embedding_cache import EmbeddingCache
from claprt.model.loaded import Loaded
from claprt.model.results import EmbeddedSound
from claprt.model.text_batching import TextSteps, cached_steps, finished, text_steps
from claprt.model.vector_cache import VectorCache
from claprt.text.tokenizer import Pace, TextEncoder, Tokenizer, split_texts

if TYPE_CHECKING:
    from claprt.model.stream import Stream

_LABELS_MB = 16
"""Room for the vectors of labels where no cache was given: seven thousand of them."""


class Clap(Loaded):
    """A loaded model, in this process or on a server, as `load` returns it. Safe to use from several threads.

    `close`, or the end of a `with` block, releases its memory or its connections. A copy by `copy.deepcopy` or in another
    process (pickle) is loaded again, and must have the same fingerprint.
    """

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        *,
        recipe: Recipe,
        long: LongAudioPolicy,
        batch_size: int = 8,
        tokenizer: TextEncoder | None = None,
        cache: VectorCache | None = None,
        projection: Bundle | None = None,
    ) -> None:
        """Put a model together; `claprt.load` does it from names.

        Args:
            bundle: The bundle; its manifest alone for a server.
            engine: Runs the towers.
            recipe: Preprocessing of sounds.
            long: Treatment of clips longer than a window.
            batch_size: Windows in one run of the audio tower.
            tokenizer: By default the bundle's own.
            cache: Stores vectors of sounds; None for none.
            projection: Bundle whose projection `project` runs; by default `bundle`.
        """
        super().__init__(bundle.manifest.name)
        self.bundle = bundle
        self.engine = engine
        self.recipe = recipe
        self.long = long
        self.batch_size = batch_size
        self.cache = cache
        """Where vectors of sounds are looked for first; None where none are kept."""
        self._label_cache = VectorCache(memory_mb=_LABELS_MB) if cache is None else cache
        self._embedding_cache: EmbeddingCache | None = None
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
        """Where the towers run: `cpu`, `openvino`, `native`, `cuda`, `tensorrt`, `tensorrt-rtx` or `triton`."""
        return self.engine.provider

    @property
    def precision(self) -> str:
        """Precision of the towers: `fp32`, or `int8+fp32` if the text tower's differs from the audio tower's."""
        return self.engine.precision

    @property
    def dim(self) -> int:
        """Length of an embedding."""
        return self.manifest.embedding_dim

    @property
    def sample_rate(self) -> int:
        """Sample rate of the model in Hz, also assumed for arrays without a rate."""
        return self.manifest.audio.mel.sample_rate

    @property
    def fingerprint(self) -> str:
        """Checkpoint, preprocessing, treatment of long clips and precision in one word.

        Only vectors with equal fingerprints are comparable.
        """
        return fingerprint_of(self.manifest, self.recipe.name, self.long.label, self.precision)

    def embed_audio(
        self, sources: AudioSource | Iterable[AudioSource], sample_rate: int | None = None, *, on_error: str = "raise"
    ) -> Embeddings:
        """Embed sounds.

        Args:
            sources: One source or an iterable of them. A source is a path, the bytes of a file, a binary file object, or
                an array [samples], [channels, samples] or [samples, 2] of any float or integer dtype; also samples with
                their rate, `(samples, rate)` or a dictionary of datasets, and objects of other libraries (docs/inputs.md).
            sample_rate: Rate of arrays in Hz; by default the model's own, with an `AssumedRateWarning`. Files state theirs;
                an array that comes with a different rate is an error.
            on_error: `raise`, or `skip` to continue with the other sources. A skipped source leaves a row of NaN and is
                named in a `SkippedSourcesWarning`; `iter_audio` gives the errors themselves.

        Returns:
            Unit vectors [dim] float32 for one source, [n, dim] for an iterable of n, in order.

        Raises:
            AudioError: If a source cannot be embedded.
            OptionError: If `on_error` has another value.
            ClosedError: If the model was closed.
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
        """Embed sounds and yield each result as soon as it is done, in order, failed ones included.

        Memory is bounded: at most a few dozen sounds are read ahead. Of one sound, `windows`, `head` and `fusion` hold a
        few windows at a time, whatever its length; `center`, `random` and `preprocess="kromosynth"` hold its samples.
        Windows of several sounds share a batch; many sounds are decoded and run side by side on all cores. The vector of a
        sound does not depend on the others.

        Args:
            sources: See `embed_audio`. One source is treated as a list of one.
            sample_rate: Rate of arrays in Hz.
            progress: Called with the seconds of sound that were read since the last call, from any thread.
        """
        self.check_open()
        _, sources = split_sources(sources)
        features = partial(self._features, sample_rate=sample_rate, progress=progress)

        def computed(sounds: Iterable[AudioSource]) -> Iterator[EmbeddedSound]:
            return embed_all(
                sounds,
                features,
                self.engine,
                batch_size=self.batch_size,
                fused=self.manifest.audio.fused,
                fingerprint=self.fingerprint,
                dim=self.dim,
                read_alone=partial(features, threads=self.engine.threads),
            )

        if self.cache is None:
            return computed(sources)
        return self.embedding_cache.embed_all(sources, sample_rate, self.sample_rate, computed)

    @property
    def embedding_cache(self) -> EmbeddingCache:
        """What was embedded before: in the cache that was given, else the labels of this model alone."""
        fingerprint = self.fingerprint
        if self._embedding_cache is None or self._embedding_cache.fingerprint != fingerprint:
            self._embedding_cache = EmbeddingCache(self._label_cache, fingerprint, self.dim)
        return self._embedding_cache

    def audio_features(
        self,
        source: AudioSource,
        sample_rate: int | None = None,
        max_windows: int | None = None,
        progress: Callable[[float], None] | None = None,
    ) -> Iterator[AudioFeatures]:
        """Compute the inputs of the audio tower for one sound, window by window, for engines that are driven by hand.

        Args:
            source: See `embed_audio`.
            sample_rate: Rate of an array in Hz.
            max_windows: Largest number of windows; None for any.
            progress: Called with the seconds of each block of the sound as it is read.

        Raises:
            AudioError: If the source cannot be read, or is longer than `max_windows`.
        """
        return self._features(source, sample_rate, max_windows, progress)

    def _features(
        self,
        source: AudioSource,
        sample_rate: int | None = None,
        max_windows: int | None = None,
        progress: Callable[[float], None] | None = None,
        threads: int = 1,
    ) -> Iterator[AudioFeatures]:
        return audio_features(
            source,
            self.manifest.audio,
            self.recipe,
            self.long,
            sample_rate=sample_rate,
            max_windows=max_windows,
            progress=progress,
            threads=threads,
        )

    def views(
        self, source: AudioSource, sample_rate: int | None = None, max_windows: int | None = None
    ) -> Iterator[AudioFeatures]:
        """Deprecated name of `audio_features`."""
        warnings.warn("Clap.views is now Clap.audio_features.", DeprecationWarning, stacklevel=2)
        return self.audio_features(source, sample_rate, max_windows)

    def embed_text(self, texts: str | Iterable[str]) -> Embeddings:
        """Embed texts.

        Texts beyond the checkpoint's number of tokens (77) are truncated, as in training. Short texts cost little: they are
        batched with others of similar length.

        Returns:
            Unit vectors [dim] float32 for one string, [n, dim] for a list of n, in order.

        Raises:
            TextError: If a text is empty, is not a string, or cannot be encoded.
        """
        self.check_open()
        one, listed = split_texts(texts)
        rows = finished(self._text_steps(listed))
        return rows[0] if one else rows

    def _text_steps(self, texts: Sequence[str], pace: Pace | None = None) -> TextSteps:
        return text_steps(
            texts,
            self._encode,
            self.engine,
            pad_token_id=self.manifest.text.pad_token_id,
            dim=self.dim,
            pace=pace,
        )

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        return self.tokenizer.encode(texts)

    def embed_labels(self, texts: str | Iterable[str]) -> Embeddings:
        """Embed texts that recur, such as labels: like `embed_text`, with results kept in memory or in the model's cache.

        Returns:
            Unit vectors [n, dim] float32; one string is treated as a list of one.

        Raises:
            TextError: If a text is empty, is not a string, or cannot be encoded.
        """
        return finished(self.label_steps(texts))

    def label_steps(self, texts: str | Iterable[str], pace: Pace | None = None) -> TextSteps:
        """Run `embed_labels` in steps, for services: yields between batches, whose size `pace` sets; ends with [n, dim]."""
        self.check_open()
        _, listed = split_texts(texts)
        return (yield from cached_steps(listed, self.embedding_cache, partial(self._text_steps, pace=pace), self.dim))

    def stream(self, labels: Sequence[str] | None = None, *, sample_rate: float, **options: Any) -> Stream:
        """Begin a stream: sound that arrives in blocks, to windows, vectors and events as they come.

        Args:
            labels: Any words or sentences; None for vectors alone.
            sample_rate: Rate of the blocks in Hz.
            options: `hop_s`, `window_s`, `scores`, `background`, `on`, `off`, `min_duration_s`, `merge_s` and `template`,
                as `claprt.timeline` has them.

        Raises:
            OptionError: If an option is out of range, or the model's preprocessing has to know the whole sound.
            SampleRateError: If sounds cannot have this rate.
            TextError: If a label is empty, not a string, or cannot be embedded.
        """
        from claprt.model.stream import Stream  # with a stream, not with the package

        return Stream(self, labels=labels, sample_rate=sample_rate, **options)

    @property
    def has_projection(self) -> bool:
        """Whether `project` is available: there is a projection, and it is on this machine."""
        return self._projection.is_here

    def project(self, embeddings: Embeddings) -> BehaviorDescriptors:
        """Compute behaviour descriptors, for models with a projection (`has_projection`).

        Args:
            embeddings: [dim] or [n, dim], floats.

        Returns:
            [descriptors] or [n, descriptors] float32, each between 0 and 1.

        Raises:
            OptionError: If the bundle has no projection, or the model is on a server and `load` was given no `projection`.
            ArrayError: If `embeddings` has another shape, is not of floats, or holds NaN or infinity.
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
