"""The engine in process: both towers of a bundle on the provider that was chosen.

Sessions are created in a thread of their own, because flush-to-zero, which the towers profit from, stays switched on in
the thread that creates one. Calls of several threads are run one after the other, since two at once on the same cores
would both be slower; whoever has many sounds uses `batch_engine`, where each call has one core and they run side by side.
And a process that forks after loading gets fresh sessions: the runtimes' threads do not survive a fork, and a call into
an old session, or its end, would wait for them for ever.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

from claprt.arrays import Array, AttentionMask, Embeddings, IsLonger, LogMels, TokenIds
from claprt.bundle.folder import Bundle
from claprt.bundle.graphs import GraphInfo, Stage
from claprt.engines.choice import Choice, choose
from claprt.engines.engine import validate_feeds, vectors_fault
from claprt.engines.graph_cache import GraphCache
from claprt.engines.hardware import Hardware, cpu_features, default_threads, nvidia_cards, nvidia_gpus, trim_heap
from claprt.engines.onnxruntime_session import Runner, ort_providers
from claprt.engines.open_session import open_session
from claprt.engines.providers import AUTO, ON_CPU, ORT_NAMES, Provider, provider_of
from claprt.errors import (
    ClosedError,
    FallbackWarning,
    MissingDependencyError,
    OptionError,
    ProviderError,
    ProviderUnavailableError,
)
from claprt.system.foreign_errors import describe_error
from claprt.system.forks import forget_in_children

_MAX_THREADS = 4096


class InProcessEngine:
    """Both towers in this process. Safe to call from many threads."""

    def __init__(
        self,
        bundle: Bundle,
        choice: Choice,
        *,
        cache: GraphCache | None = None,
        max_concurrency: int = 1,
        preload: Iterable[Stage] = (Stage.AUDIO,),
    ) -> None:
        """Load the audio tower; the text tower is loaded when it is first used.

        Args:
            bundle: What to run.
            choice: On what, in which precision, with which options.
            cache: Where prepared graphs are kept.
            max_concurrency: Calls that run side by side, sharing the threads.
            preload: Towers to load now.

        Raises:
            OptionError: If the number of threads is below 1.
            ProviderUnavailableError: If the provider is not available.
            BundleCorruptError: If a graph is not what the manifest says.
        """
        threads = choice.options.threads
        if threads is not None and not 1 <= threads <= _MAX_THREADS:
            raise OptionError(
                f"threads={threads} is not possible; give 1 to {_MAX_THREADS}, or None for the machine's cores."
            )
        self.choice = choice
        """The provider and the precisions, and why they were chosen."""
        self.threads = default_threads() if threads is None else threads
        """CPU threads of all calls together."""
        self._bundle = bundle
        self._cache = cache
        self._max_concurrency = max_concurrency
        self._runners: dict[Stage, Runner] = {}
        self._failed: dict[Provider, str] = {}
        self._loaded = self._closed = False
        self._batch_engine: InProcessEngine | None = None
        self._make_locks()
        forget_in_children(self)
        self._load(preload)
        self._loaded = True

    def _load(self, stages: Iterable[Stage]) -> None:
        with self._loading:
            for stage in stages:
                self._runner(stage)

    def _make_locks(self) -> None:
        self._loading = threading.Lock()
        self._free = threading.BoundedSemaphore(self._max_concurrency)

    @property
    def provider(self) -> str:
        """What the towers run on: `cpu`, `openvino`, `native`, `cuda`, `tensorrt` or `tensorrt-rtx`."""
        return str(self.choice.provider)

    @property
    def precision(self) -> str:
        """What the towers compute in: `fp32`, or `int8+fp32` where text differs from audio."""
        return self.choice.precision

    @property
    def max_concurrency(self) -> int:
        """Calls that run side by side."""
        return self._max_concurrency

    def batch_engine(self) -> InProcessEngine:
        """The engine for many sounds: on the CPU one that runs as many calls side by side as there are threads.

        On two cores onnxruntime then does 1.1 to 1.5 times the sounds in the same time, at twice the latency of each;
        OpenVINO as many as before (benchmarks/LOG.md). Loaded when first asked for. A GPU wants batches instead, and
        gets this same engine.
        """
        if self.threads == 1 or self._max_concurrency > 1 or self.choice.provider not in ON_CPU:
            self._check_open()
            return self
        with self._loading:
            self._check_open()
            if self._batch_engine is None:
                many = InProcessEngine(
                    self._bundle, self.choice, cache=self._cache, max_concurrency=self.threads, preload=()
                )
                many._load((Stage.AUDIO,))  # once it stands for the precision of this one
                self._batch_engine = many
        return self._batch_engine

    def throughput(self) -> InProcessEngine:
        """Deprecated name of `batch_engine`, which model repositories of 0.1.0 use."""
        warnings.warn("InProcessEngine.throughput is now batch_engine.", DeprecationWarning, stacklevel=2)
        return self.batch_engine()

    def audio(self, log_mels: LogMels, is_longer: IsLonger | None) -> Embeddings:
        """Unit vectors [batch, dim] of log-mels [batch, views, frames, mels].

        Raises:
            ArrayError: If an input has another shape or dtype than the manifest states.
        """
        feeds: dict[str, Array | None] = {"log_mels": log_mels, "is_longer": is_longer}
        return self._run(Stage.AUDIO, feeds)

    def text(self, token_ids: TokenIds, attention_mask: AttentionMask) -> Embeddings:
        """Unit vectors [batch, dim] of token ids and their mask [batch, tokens].

        Raises:
            ArrayError: If an input has another shape or dtype than the manifest states.
        """
        return self._run(Stage.TEXT, {"token_ids": token_ids, "attention_mask": attention_mask})

    def _facts(self, stage: Stage) -> GraphInfo:
        return self._bundle.manifest.graph(stage, self.choice.of(stage))

    def _run(self, stage: Stage, given: dict[str, Array | None]) -> Embeddings:
        feeds = validate_feeds(self._facts(stage), given)
        with self._loading:
            runner = self._runner(stage)
            provider = provider_of(self.choice.provider, stage)
        with self._free:
            try:
                vectors = runner(feeds)
            except Exception as error:  # the runtimes' exceptions have no common parent but Exception
                raise ProviderError(
                    f"{self._facts(stage).file} could not be run on {provider}: {describe_error(error)}"
                ) from error
        rows, dim = len(next(iter(feeds.values()))), self._bundle.manifest.embedding_dim
        if fault := vectors_fault(vectors, rows, dim):
            raise ProviderError(f"{self._facts(stage).file} on {provider} gave {fault}. No such vector is given out.")
        return vectors

    def _check_open(self) -> None:
        if self._closed:
            raise ClosedError(f"The engine of {self._bundle.manifest.name!r} was closed. Load the model again.")

    def _runner(self, stage: Stage) -> Runner:
        """The stage's graph, loaded if this process has not done so yet. Called with the lock held."""
        self._check_open()
        if stage not in self._runners:
            with ThreadPoolExecutor(1, thread_name_prefix="claprt-load") as pool:
                self._runners[stage] = pool.submit(self._create, stage).result()
            trim_heap()
        return self._runners[stage]

    def _create(self, stage: Stage) -> Runner:
        while True:  # each time without one more provider
            try:
                return self._opened(stage)
            except ProviderUnavailableError as error:
                self._failed[self.choice.provider] = str(error).rstrip(". \n")
                try:
                    self._choose_again(stage)
                except ProviderUnavailableError as none_left:
                    raise none_left from (error.__cause__ or error)

    def _choose_again(self, stage: Stage) -> None:
        """Choose without the providers that have failed, for both towers: they run on the same one.

        Raises:
            ProviderUnavailableError: If nothing else may be chosen, or it would give other vectors than those that this
                engine stands for since it was loaded.
        """
        last = self.choice
        choice = choose(last.options, detect_hardware(), self._bundle.manifest, failed=self._failed)
        if self._loaded and choice.precision != last.precision:
            raise ProviderUnavailableError(
                f"The {stage} tower could not be loaded on {last.provider}: {self._failed[last.provider]}. Vectors of this "
                f"model are in {last.precision}, and those of {choice.provider} would be in {choice.precision}: load it "
                f'again with provider="{choice.provider}".'
            )
        self.choice, self._batch_engine = choice, None
        self._runners.clear()
        if last.options.provider == AUTO:
            reason = f"{last.provider} could not be loaded: {self._failed[last.provider]}"
            warnings.warn(f"{reason}. This model runs on {choice.provider} instead.", FallbackWarning, stacklevel=2)

    def _opened(self, stage: Stage) -> Runner:
        return open_session(
            self._bundle, self.choice, stage, threads=self.threads, side_by_side=self._max_concurrency, cache=self._cache
        )

    @property
    def loaded(self) -> frozenset[Stage]:
        """Towers that are loaded now."""
        many = self._batch_engine
        return frozenset(self._runners) | (frozenset[Stage]() if many is None else many.loaded)

    def unload(self) -> None:
        """Release the sessions and their memory; the next call loads what it needs again. Calls that are running go on."""
        with self._loading:
            self._runners = {}
            many, self._batch_engine = self._batch_engine, None
        if many is not None:
            many.unload()
        trim_heap()

    def close(self) -> None:
        """Release the sessions; calls that are running end first, and later ones raise `ClosedError`."""
        with self._loading:
            self._closed = True
            self._runners = {}
            many, self._batch_engine = self._batch_engine, None
        if many is not None:
            many.close()
        trim_heap()

    def forget_after_fork(self) -> None:
        """Forget the sessions without ending them, for the child of a fork, where ending them would hang."""
        for runner in self._runners.values():
            runner.forget_after_fork()
        self._runners = {}
        self._batch_engine = None
        self._make_locks()


def detect_hardware() -> Hardware:
    """Describe the installed runtimes, the processor and the GPUs of this machine.

    Raises:
        MissingDependencyError: If neither onnxruntime nor OpenVINO is installed, nor TensorRT-RTX where there is a GPU.
    """
    from claprt.engines.native.library import native_unavailable
    from claprt.engines.openvino_session import openvino_version
    from claprt.engines.tensorrt_rtx_session import tensorrt_rtx_version

    openvino, rtx = openvino_version(), tensorrt_rtx_version()
    cards = nvidia_cards() if rtx is not None else ()
    try:
        providers = ort_providers()
    except MissingDependencyError:
        if openvino is None and not cards:
            raise
        providers = frozenset[str]()  # either alone will do
    wants_driver = {ORT_NAMES[Provider.CUDA], ORT_NAMES[Provider.TENSORRT]} & providers
    return Hardware(
        providers=providers,
        nvidia_gpus=nvidia_gpus() if wants_driver else 0,
        openvino=openvino,
        no_native=native_unavailable(),
        features=cpu_features(),
        tensorrt_rtx=rtx,
        cards=cards,
    )
