"""The engine in process, and the only module that imports onnxruntime.

Three things are done here that a bare `InferenceSession` does not do. The provider that a session ended up with is
compared with the one asked for, since onnxruntime falls back without a word. Sessions are created in a thread of their
own, because flush-to-zero, which the towers profit from, stays switched on in the thread that creates a session. And a
process that forks after loading gets fresh sessions: onnxruntime's threads do not survive a fork, and a call into the old
session, or its end, would wait for them for ever.
"""

from __future__ import annotations

import ctypes
import os
import sys
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from claprt.arrays import AttentionMask, Embeddings, IsLonger, LogMels, TokenIds, check_array
from claprt.bundle import Bundle
from claprt.errors import (
    ArrayError,
    BundleCorruptError,
    MissingDependencyError,
    OptionError,
    ProviderError,
    ProviderUnavailableError,
)
from claprt.manifest import GraphFacts, Precision, Stage, TensorFacts
from claprt.providers import (
    ORT_NAMES,
    Choice,
    Machine,
    Provider,
    choose,
    default_threads,
    nvidia_gpus,
    tensorrt_profiles,
)

if TYPE_CHECKING:
    import onnxruntime

_MAX_BATCH = 64
_MAX_THREADS = 4096
Array = np.ndarray[Any, Any]

_DTYPES = {"tensor(float)": "float32", "tensor(int64)": "int64", "tensor(bool)": "bool"}


class OrtEngine:
    """Both towers on onnxruntime. Safe to call from many threads; calls are run one after the other."""

    def __init__(
        self,
        bundle: Bundle,
        *,
        provider: str,
        precision: Precision,
        threads: int | None,
        fallback: bool,
        max_batch: int = _MAX_BATCH,
    ) -> None:
        """Chooses the provider and loads the audio tower; the text tower is loaded when it is first used.

        Raises:
            OptionError: unknown provider, a precision that the bundle lacks, or a number of threads below 1.
            ProviderUnavailableError: the provider cannot be had here.
            MissingDependencyError: onnxruntime is not installed.
            BundleCorruptError: a graph is not what the manifest says.
        """
        if threads is not None and not 1 <= threads <= _MAX_THREADS:
            raise OptionError(
                f"threads={threads} is not possible; give 1 to {_MAX_THREADS}, or None for the machine's cores."
            )
        self._bundle = bundle
        self._precision = precision
        self._threads = default_threads() if threads is None else threads
        self._fallback = fallback
        self._max_batch = max(max_batch, _MAX_BATCH)
        self.choice: Choice = choose(provider, this_machine(), fallback=fallback)
        """The provider and why it was chosen."""
        self._sessions: dict[Stage, onnxruntime.InferenceSession] = {}
        self._lock = threading.Lock()
        _engines.add(self)
        with self._lock:
            self._session(Stage.AUDIO)

    @property
    def provider(self) -> str:
        """What the towers run on: `cpu`, `cuda`, `tensorrt` or `openvino`."""
        return str(self.choice.provider)

    def audio(self, log_mels: LogMels, is_longer: IsLonger | None) -> Embeddings:
        """Unit vectors [batch, dim] of log-mels [batch, views, frames, mels].

        Raises:
            ArrayError: an input has another shape or dtype than the manifest states.
        """
        feeds: dict[str, Array | None] = {"log_mels": log_mels, "is_longer": is_longer}
        return self._run(Stage.AUDIO, feeds)

    def text(self, token_ids: TokenIds, attention_mask: AttentionMask) -> Embeddings:
        """Unit vectors [batch, dim] of token ids and their mask [batch, tokens].

        Raises:
            ArrayError: an input has another shape or dtype than the manifest states.
        """
        return self._run(Stage.TEXT, {"token_ids": token_ids, "attention_mask": attention_mask})

    def _run(self, stage: Stage, given: dict[str, Array | None]) -> Embeddings:
        facts = self._bundle.manifest.graph(stage, self._precision)
        feeds = _checked_feeds(facts, given)
        with self._lock:
            session = self._session(stage)
            try:
                return session.run(None, feeds)[0]  # pyright: ignore[reportReturnType]
            except Exception as error:  # onnxruntime's exceptions have no common parent but Exception
                raise ProviderError(f"{facts.file} could not be run on {self.provider}: {error}") from error

    def _session(self, stage: Stage) -> onnxruntime.InferenceSession:
        """The stage's session, created if this process has none yet. Called with the lock held."""
        if stage not in self._sessions:
            with ThreadPoolExecutor(1, thread_name_prefix="claprt-load") as pool:
                self._sessions[stage] = pool.submit(self._create, stage).result()
        return self._sessions[stage]

    def _create(self, stage: Stage) -> onnxruntime.InferenceSession:
        ort = _onnxruntime()
        facts = self._bundle.manifest.graph(stage, self._precision)
        path = self._bundle.graph_path(stage, self._precision)
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        options.add_session_config_entry("session.set_denormal_as_zero", "1")
        try:
            session = ort.InferenceSession(str(path), options, providers=self._ort_providers(facts), enable_fallback=0)
        except Exception as error:  # onnxruntime's exceptions have no common parent but Exception
            if self.choice.provider is Provider.CPU:
                raise BundleCorruptError(f"{path} cannot be loaded: {error}") from error
            self._fall_back(f"{error}", error)
            return self._create(stage)
        if (runs := session.get_providers()[0]) != ORT_NAMES[self.choice.provider]:
            self._fall_back(f"onnxruntime runs {runs} instead; its log says which library could not be loaded")
        _check_interface(path.name, facts, session)
        return session

    def _ort_providers(self, facts: GraphFacts) -> list[str | tuple[str, dict[str, str]]]:
        cpu, name = ORT_NAMES[Provider.CPU], ORT_NAMES[self.choice.provider]
        if self.choice.provider is Provider.CPU:
            return [cpu]
        if self.choice.provider is Provider.TENSORRT:
            tokens = (3, 16, self._bundle.manifest.text.max_tokens)
            profiles = tensorrt_profiles(facts, max_batch=self._max_batch, tokens=tokens)
            return [(name, profiles), ORT_NAMES[Provider.CUDA], cpu]
        if self.choice.provider is Provider.CUDA:
            return [(name, {"use_tf32": "0"}), cpu]  # fp32 shall be fp32; TF32 has ten bits of mantissa
        return [name, cpu]

    def _fall_back(self, reason: str, cause: Exception | None = None) -> None:
        """Goes on with the CPU if the caller allowed it."""
        asked = self.choice.provider
        if not self._fallback:
            raise ProviderUnavailableError(
                f'provider="{asked}" was chosen and cannot be had: {reason}. Repair it, or allow the CPU: fallback=True.'
            ) from cause
        self.choice = Choice(provider=Provider.CPU, reason=f"fallback, since {asked} cannot be had: {reason}")

    def abandon(self) -> None:
        """Forgets the sessions without ending them, for the child of a fork, where ending them would hang."""
        for session in self._sessions.values():
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(session))
        self._sessions = {}
        self._lock = threading.Lock()


_engines: weakref.WeakSet[OrtEngine] = weakref.WeakSet()


def _after_fork_in_child() -> None:
    for engine in list(_engines):
        engine.abandon()
    if "onnxruntime" in sys.modules:
        _end_without_exit_handlers()


def _end_without_exit_handlers() -> None:
    """Makes this process end with `_exit` once Python is done.

    onnxruntime 1.31 waits in an exit handler for threads that only the parent has, so a forked child that has merely
    imported it never ends. glibc's `on_exit` runs what was registered last first and hands it the exit status, which is
    all that `_exit` needs; Python has flushed its streams by then. Where there is no `on_exit`, nothing is done.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):
        libc.on_exit(ctypes.cast(libc._exit, ctypes.c_void_p), None)  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


def this_machine() -> Machine:
    """What this process's onnxruntime and the machine's drivers offer."""
    providers = frozenset(_onnxruntime().get_available_providers())
    wants_driver = {ORT_NAMES[Provider.CUDA], ORT_NAMES[Provider.TENSORRT]} & providers
    return Machine(providers=providers, nvidia_gpus=nvidia_gpus() if wants_driver else 0)


def onnxruntime_version() -> str:
    """Version of the installed onnxruntime."""
    return str(_onnxruntime().__version__)


def _onnxruntime() -> ModuleType:
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingDependencyError(
            "onnxruntime is not installed. pip install 'claprt[cpu]' brings it, or 'claprt[gpu]' on a machine with an "
            "NVIDIA GPU."
        ) from error
    return onnxruntime


def _checked_feeds(facts: GraphFacts, given: dict[str, Array | None]) -> dict[str, Array]:
    """What a graph takes of what was given, every shape checked, axes of one name equally long."""
    names = [tensor.name for tensor in facts.inputs]
    for name, array in given.items():
        if array is not None and name not in names:
            raise ArrayError(f"{facts.file} takes {', '.join(names)}, and {name} was given as well; leave it out.")
    feeds: dict[str, Array] = {}
    lengths: dict[str, int] = {}
    for tensor in facts.inputs:
        array = given.get(tensor.name)
        if array is None:
            raise ArrayError(f"{facts.file} needs {tensor.name} ({tensor.dtype} {list(tensor.shape)}), and none was given.")
        check_array(tensor.name, array, tensor.dtype, tensor.shape)
        for axis, length in zip(tensor.shape, array.shape, strict=True):
            if isinstance(axis, str) and lengths.setdefault(axis, length) != length:
                raise ArrayError(f"{tensor.name} has {length} along {axis}, and an input before it {lengths[axis]}.")
        feeds[tensor.name] = array
    if not all(lengths.values()):
        raise ArrayError(f"{facts.file} needs at least one row and one column; got {lengths}.")
    return feeds


def _check_interface(file: str, facts: GraphFacts, session: onnxruntime.InferenceSession) -> None:
    for kind, stated, found in (
        ("inputs", facts.inputs, session.get_inputs()),
        ("outputs", facts.outputs, session.get_outputs()),
    ):
        have = tuple(
            TensorFacts(name=tensor.name, dtype=_DTYPES.get(str(tensor.type), "unknown"), shape=tuple(tensor.shape))
            for tensor in found
        )
        if have != stated:
            raise BundleCorruptError(f"{file}: the manifest states {kind} {stated}, the graph has {have}. Export again.")
