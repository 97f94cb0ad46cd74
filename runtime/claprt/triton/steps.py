"""What the repository's python models share: their version's bundle, requests as arrays, and errors as answers.

Runs inside Triton's python backend, one process for each instance. A step answers every request, with our sentence where
it cannot be done; a request that is wrong never harms the others that came with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from claprt.arrays import AttentionMask, Embeddings, IsLonger, LogMels, TokenIds, Waveform
from claprt.bundle import Bundle
from claprt.engine import Engine
from claprt.errors import AudioDecodeError, AudioShapeError, ClaprtError, NonFiniteAudioError
from claprt.graph_cache import default_cache
from claprt.graphs import Precision, Stage
from claprt.inprocess import InProcessEngine, this_machine
from claprt.manifest import MANIFEST_FILE, AudioFacts, parse_manifest
from claprt.providers import choose

Array = np.ndarray[Any, Any]
Inputs = Mapping[str, Array]
Answer = Callable[[Inputs, frozenset[str]], Mapping[str, Array]]
"""From a request's inputs, and the names of the outputs that it wants, to at least those."""


def version_bundle(args: Mapping[str, str]) -> Bundle:
    """The part of the bundle that lies in the model's version folder.

    Raises:
        BundleError: there is no manifest, or it cannot be read.
    """
    folder = Path(args["model_repository"]) / args["model_version"]
    manifest = folder / MANIFEST_FILE
    return Bundle(path=folder, manifest=parse_manifest(manifest.read_bytes(), manifest))


def parameter(args: Mapping[str, str], name: str) -> str:
    """A parameter of the model's configuration."""
    found: str = json.loads(args["model_config"])["parameters"][name]["string_value"]
    return found


def tower(args: Mapping[str, str], stage: Stage) -> InProcessEngine:
    """The engine of one tower, on the provider, threads and precision that the configuration names."""
    bundle = version_bundle(args)
    choice = choose(
        parameter(args, "provider"), this_machine(), bundle.manifest, precision=Precision(parameter(args, "precision"))
    )
    threads = int(parameter(args, "threads")) or None
    return InProcessEngine(bundle, choice, threads=threads, cache=default_cache(), preload=(stage,))


class Steps:
    """The backend's side of a step: requests in, responses out."""

    def __init__(self, backend: Any) -> None:
        """Takes `triton_python_backend_utils`, which exists only inside the backend."""
        self._backend = backend

    def each(self, requests: Sequence[Any], answer: Answer) -> list[Any]:
        """Answers one request after the other."""
        return [self._response(lambda request=request: _chosen(answer, *self._inputs(request))) for request in requests]

    def merged(self, requests: Sequence[Any], run: Callable[[Inputs], Mapping[str, Array]]) -> list[Any]:
        """Answers requests of equal shapes in one call, each with its own rows."""
        given = [self._inputs(request)[0] for request in requests]
        rows = [len(next(iter(inputs.values()))) for inputs in given]
        whole = {name: np.concatenate([inputs[name] for inputs in given]) for name in given[0]}
        try:
            found = run(whole)
        except ClaprtError as error:
            if len(requests) == 1:
                return [self._refused(error)]
            return [self._response(lambda inputs=inputs: run(inputs)) for inputs in given]
        parts = {name: np.split(array, np.cumsum(rows)[:-1]) for name, array in found.items()}
        return [
            self._response(lambda index=index: {name: part[index] for name, part in parts.items()})
            for index in range(len(requests))
        ]

    def _inputs(self, request: Any) -> tuple[dict[str, Array], frozenset[str]]:
        arrays = {tensor.name(): tensor.as_numpy() for tensor in request.inputs()}
        return arrays, frozenset(request.requested_output_names())

    def _response(self, found: Callable[[], Mapping[str, Array]]) -> Any:
        try:
            tensors = [self._backend.Tensor(name, np.ascontiguousarray(array)) for name, array in found().items()]
        except ClaprtError as error:
            return self._refused(error)
        return self._backend.InferenceResponse(output_tensors=tensors)

    def _refused(self, error: ClaprtError) -> Any:
        kind = self._backend.TritonError
        return self._backend.InferenceResponse(error=kind(str(error), kind.INVALID_ARG))


def _chosen(answer: Answer, inputs: Inputs, wanted: frozenset[str]) -> Mapping[str, Array]:
    return {name: array for name, array in answer(inputs, wanted).items() if name in wanted}


def float_samples(data: bytes) -> Waveform:
    """Raw little-endian float32 samples as an array.

    Raises:
        AudioDecodeError: the bytes are no whole number of samples.
    """
    if len(data) % 4:
        raise AudioDecodeError(
            f"With sample_rate, audio is float32 samples; {len(data)} bytes are no whole number of them."
        )
    return np.frombuffer(data, "<f4").astype(np.float32, copy=False)


def at_most(windows: int, blocks: Iterable[Waveform], facts: AudioFacts) -> Iterator[Waveform]:
    """The blocks themselves, as long as they fit into so many windows: a server answers within bounds of memory and time.

    Raises:
        AudioShapeError: there are more.
    """
    left = windows * facts.window_samples + facts.mel.hop - 1 if windows > 0 else 0
    for block in blocks:
        left -= block.size
        if left < 0:
            raise AudioShapeError(
                f"There is more sound in this request than this server takes: {windows * facts.window_s:g} s were left "
                "for this file. Send fewer or shorter files, or use an engine that cuts them on your side "
                '(claprt.load("triton://…")).'
            )
        yield block


def audio_rows(engine: Engine, log_mels: LogMels, is_longer: IsLonger | None) -> Embeddings:
    """Vectors of log-mels: one on all cores, several side by side where the engine can.

    Raises:
        NonFiniteAudioError: a log-mel is not finite; a vector of it would look like any other.
    """
    if not np.isfinite(log_mels).all():
        raise NonFiniteAudioError("log_mels has values that are not finite numbers.")
    wide = engine.throughput() if len(log_mels) > 1 else engine
    if wide.at_once == 1:
        return wide.audio(log_mels, is_longer)

    def one(row: int) -> Embeddings:
        return wide.audio(log_mels[row : row + 1], None if is_longer is None else is_longer[row : row + 1])

    with ThreadPoolExecutor(wide.at_once) as pool:
        return np.concatenate(list(pool.map(one, range(len(log_mels)))))


def text_rows(engine: Engine, token_ids: TokenIds, attention_mask: AttentionMask, batch: int = 32) -> Embeddings:
    """Vectors of texts, those of similar length together and without the padding that they do not need."""
    lengths = np.maximum(attention_mask.sum(axis=1), 1)
    order = np.argsort(lengths, kind="stable")
    found: list[Embeddings] = []
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        longest = int(lengths[rows].max())
        found.append(engine.text(token_ids[rows, :longest], attention_mask[rows, :longest]))
    vectors = np.concatenate(found)
    return vectors[np.argsort(order, kind="stable")]
