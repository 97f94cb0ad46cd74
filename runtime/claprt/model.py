"""`Clap`: sounds and texts in, unit vectors of one space out."""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Iterable, Iterator

import msgspec
import numpy as np

from claprt.arrays import Embedding, Embeddings
from claprt.audio import AudioSource, is_one_source, open_sound
from claprt.bundle import Bundle, default_bundle, read_bundle
from claprt.clip import LongClips, View, long_clips, views, whole_number
from claprt.engine import Engine
from claprt.errors import OptionError, SkippedSourcesWarning
from claprt.graph_cache import default_cache
from claprt.graphs import Precision, Stage
from claprt.manifest import Manifest
from claprt.many import embedded
from claprt.preprocess import Recipe, prepared_blocks, recipe
from claprt.providers import choose
from claprt.results import EmbeddedSound
from claprt.text import Tokenizer, batches_by_length, pad

_TEXT_BATCH = 32


def load(
    bundle: str | os.PathLike[str] | None = None,
    provider: str = "auto",
    precision: str = Precision.FP32,
    threads: int | None = None,
    preprocess: str = "laion",
    long: str | None = None,
    *,
    hop_s: float | None = None,
    seed: int | None = None,
    batch_size: int = 8,
    fallback: bool = False,
    verify: bool = True,
) -> Clap:
    """Loads a bundle.

    Args:
        bundle: the folder that `claprt-export` wrote; by default the one that the environment variable `CLAPRT_BUNDLE`
            names, else the small model that ships with the package; `mini` names that one.
        provider: `auto`, `cpu`, `openvino`, `cuda` or `tensorrt`. What runs is what was asked for, or an error is raised.
        precision: one that the bundle was exported in; or `auto`, for the fastest of this machine among those that the
            bundle's judge accepted, chosen together with the provider and for each tower by itself. The default is the
            precision whose vectors are LAION's; vectors of different precisions have different fingerprints.
        threads: CPU threads; by default the physical cores that this process may use.
        preprocess: `laion`, `transformers` or `kromosynth`: whose vectors to reproduce (see `claprt.preprocess`).
        long: what to do with clips over ten seconds: `windows`, `center`, `head`, `random` or `fusion`. By default
            `fusion` for fused checkpoints and `windows` for the others.
        hop_s: for `windows`, seconds from one window to the next; by default a whole window.
        seed: for `random` and `fusion`, reproduces the crops of LAION's code under `numpy.random.seed(seed)`.
        batch_size: windows that go through the audio tower together.
        fallback: lets the CPU take over when the provider cannot be had; `Clap.provider` then says so.
        verify: compares the sha256 of every file with the manifest; files that have not changed since the last time are not
            read again.

    Raises:
        BundleError: there is no bundle, it is of another schema, or a file is missing or altered.
        ProviderUnavailableError: the provider cannot be had on this machine.
        OptionError: an option has no such value, or the bundle cannot do it.
        MissingDependencyError: onnxruntime is not installed.
    """
    from claprt.inprocess import InProcessEngine, this_machine

    found = read_bundle(default_bundle() if bundle is None else bundle)
    batch_size = whole_number("batch_size", batch_size)
    if batch_size < 1:
        raise OptionError(f"batch_size={batch_size} is not possible; give 1 or more.")
    threads = None if threads is None else whole_number("threads", threads)
    policy = long_clips(long, found.manifest.audio, hop_s, seed)
    prepared = recipe(preprocess)
    choice = choose(provider, this_machine(), found.manifest, precision=precision, fallback=fallback)
    cache = default_cache()
    if verify:
        found.verify(cache)
    engine = InProcessEngine(found, choice, threads=threads, fallback=fallback, max_batch=batch_size, cache=cache)
    return Clap(found, engine, recipe=prepared, long=policy, batch_size=batch_size)


class Clap:
    """A loaded bundle. Made by `load`; safe to use from several threads."""

    def __init__(
        self,
        bundle: Bundle,
        engine: Engine,
        *,
        recipe: Recipe,
        long: LongClips,
        batch_size: int = 8,
    ) -> None:
        self.bundle = bundle
        self.engine = engine
        self.recipe = recipe
        self.long = long
        self.batch_size = batch_size
        self._tokenizer: Tokenizer | None = None

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
        """What made a vector, in one word: vectors are comparable where it is equal.

        It names the checkpoint, the recipe, the treatment of long clips and the precision, and ends in a digest of these
        and of the front end's facts. The provider is not part of it.
        """
        manifest = self.manifest
        facts: tuple[object, ...] = (
            manifest.source.sha256, msgspec.json.encode(manifest.audio).decode(), manifest.embedding_dim,
        )  # fmt: skip
        if str(Precision.INT8) in self.precision.split("+"):  # whose vectors depend on what ranges were taken from
            graphs = (manifest.graphs[stage].get(Precision.INT8) for stage in (Stage.AUDIO, Stage.TEXT))
            facts += tuple(graph.sha256 for graph in graphs if graph is not None)
        readable = f"{manifest.name}/{self.recipe.name}/{self.long.label}/{self.precision}"
        digest = hashlib.sha256(repr((facts, readable)).encode()).hexdigest()
        return f"{readable}/{digest[:12]}"

    def embed_audio(
        self,
        sources: AudioSource | Iterable[AudioSource],
        sample_rate: int | None = None,
        *,
        on_error: str = "raise",
    ) -> Embeddings:
        """Vectors of sounds: [dim] for one source, [n, dim] for a list of n, in order.

        Args:
            sources: one source or an iterable of them. A source is a path, the bytes of a file, a binary file object, or
                an array [samples], [channels, samples] or [samples, 2] of any float or integer dtype.
            sample_rate: rate of array sources in Hz; by default the model's own. Files state theirs.
            on_error: `raise`, or `skip` to go on with the others; a skipped source leaves a row of NaN and is named in a
                `SkippedSourcesWarning`. `iter_audio` gives the errors themselves.

        Raises:
            AudioError: a source is no sound that can be embedded.
            OptionError: `on_error` has another value.
        """
        if on_error not in ("raise", "skip"):
            raise OptionError(f"on_error={on_error!r} is not known; choose raise or skip.")
        if is_one_source(sources):
            return self._stack([sources], sample_rate, on_error)[0]
        return self._stack(sources, sample_rate, on_error)

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

    def iter_audio(self, sources: Iterable[AudioSource], sample_rate: int | None = None) -> Iterator[EmbeddedSound]:
        """Embeds sounds one after the other and gives each as soon as it is done, in order, failed ones included.

        Windows of several sounds share a batch of `batch_size`; once there are many, they are decoded and run side by
        side on all cores instead. No more than a few dozen sounds are read ahead of the one that is given.
        Of a sound itself, `windows`, `head` and `fusion` hold a few windows at a time, however long it is; `center` and
        `random` hold its samples, and so does the `kromosynth` recipe. The vector of a sound does not depend on the others.
        """
        return embedded(
            sources,
            lambda source: self._views(source, sample_rate),
            self.engine,
            batch_size=self.batch_size,
            fused=self.manifest.audio.fused,
            fingerprint=self.fingerprint,
            dim=self.dim,
        )

    def _views(self, source: AudioSource, sample_rate: int | None) -> Iterator[View]:
        sound = open_sound(source, sample_rate, self.sample_rate)
        blocks = prepared_blocks(sound, self.recipe, self.sample_rate)
        return views(blocks, self.manifest.audio, self.recipe, self.long)

    def embed_text(self, texts: str | Iterable[str]) -> Embeddings:
        """Vectors of texts: [dim] for one string, [n, dim] for a list of n, in order.

        Texts beyond the checkpoint's number of tokens (77) are cut there, as in training. Short texts cost little: they
        are run together with others of their length and never padded to the longest.

        Raises:
            TextError: a text is empty, is not a string, or cannot be encoded.
        """
        if isinstance(texts, str):
            return self.embed_text([texts])[0]
        if not isinstance(texts, Iterable):
            return self.embed_text([texts])  # refused there, with the reason
        ids = self.tokenizer.encode(list(texts))
        rows = np.empty((len(ids), self.dim), np.float32)
        for positions in batches_by_length(ids, _TEXT_BATCH):
            token_ids, mask = pad([ids[position] for position in positions], self.manifest.text.pad_token_id)
            rows[positions] = self.engine.text(token_ids, mask)
        return rows

    @property
    def tokenizer(self) -> Tokenizer:
        """The bundle's tokenizer, read when first used."""
        if self._tokenizer is None:
            self._tokenizer = Tokenizer(self.bundle.tokenizer_path, self.manifest.text)
        return self._tokenizer

    def __repr__(self) -> str:
        trained = "" if self.manifest.source.trained else ", untrained"
        return f"<Clap {self.manifest.name} {self.precision} on {self.provider}{trained}>"
