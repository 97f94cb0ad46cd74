"""What the repository's python models share: their version's bundle, requests as arrays, and errors as answers.

Runs inside Triton's python backend, one process for each instance. A step answers every request, with our sentence where
it cannot be done; a request that is wrong never harms the others that came with it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from claprt.arrays import Array, AttentionMask, Embeddings, TokenIds
from claprt.bundle.folder import Bundle
from claprt.bundle.graphs import Precision, Stage
from claprt.bundle.manifest import MANIFEST_FILE, TextConfig, parse_manifest
from claprt.engines.choice import EngineOptions, choose
from claprt.engines.engine import Engine
from claprt.engines.graph_cache import default_cache
from claprt.engines.in_process import InProcessEngine, detect_hardware
from claprt.errors import ArrayError, ClaprtError, ProviderError

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
    return Bundle(folder=folder, manifest=parse_manifest(manifest.read_bytes(), manifest))


def parameter(args: Mapping[str, str], name: str) -> str:
    """A parameter of the model's configuration."""
    found: str = json.loads(args["model_config"])["parameters"][name]["string_value"]
    return found


def tower(args: Mapping[str, str], stage: Stage) -> InProcessEngine:
    """The engine of one tower, on the provider, threads and precision that the configuration names."""
    bundle = version_bundle(args)
    options = EngineOptions(
        provider=parameter(args, "provider"),
        precision=Precision(parameter(args, "precision")),
        threads=int(parameter(args, "threads")) or None,
    )
    choice = choose(options, detect_hardware(), bundle.manifest)
    return InProcessEngine(bundle, choice, cache=default_cache(), preload=(stage,))


class Steps:
    """The backend's side of a step: requests in, responses out."""

    def __init__(self, backend: Any) -> None:
        """Take `triton_python_backend_utils`, which exists only inside the backend."""
        self._backend = backend

    def each(self, requests: Sequence[Any], answer: Answer) -> list[Any]:
        """Answer one request after the other."""
        return [self._response(lambda r=request: _chosen(answer, *self._inputs(r))) for request in requests]

    def merged(self, requests: Sequence[Any], run: Callable[[Inputs], Mapping[str, Array]]) -> list[Any]:
        """Answer requests of equal shapes [rows, ...] in one call, each with its own rows."""
        given = [self._inputs(request)[0] for request in requests]
        rows = [len(next(iter(inputs.values()))) for inputs in given]
        try:
            found = run({name: np.concatenate([inputs[name] for inputs in given]) for name in given[0]})
        except Exception as error:  # noqa: BLE001 - answered below, to whom it concerns
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
        except Exception as error:  # noqa: BLE001 - it must not take the requests beside it along
            return self._refused(error)
        return self._backend.InferenceResponse(output_tensors=tensors)

    def _refused(self, error: Exception) -> Any:
        kind = self._backend.TritonError
        if isinstance(error, ClaprtError) and not isinstance(error, ProviderError):
            return self._backend.InferenceResponse(error=kind(str(error), kind.INVALID_ARG))
        return self._backend.InferenceResponse(error=kind(f"{type(error).__name__}: {error}", kind.INTERNAL))


def _chosen(answer: Answer, inputs: Inputs, wanted: frozenset[str]) -> Mapping[str, Array]:
    return {name: array for name, array in answer(inputs, wanted).items() if name in wanted}


def check_distinct(texts: Embeddings) -> None:
    """Refuse texts that would share their probability, as `claprt.classify` refuses labels that are there twice.

    Args:
        texts: [texts, dim]. Equal texts may differ in their last bits, where they were run in unlike batches.

    Raises:
        ArrayError: if two of them are the same.
    """
    order = np.lexsort(np.round(texts[:, :2], 3).T)
    steps = np.abs(np.diff(texts[order], axis=0)).max(axis=1, initial=0)
    same = np.flatnonzero(steps < 1e-5)
    if same.size:
        first, second = sorted(int(place) for place in order[same[0] : same[0] + 2])
        raise ArrayError(f"Texts {first} and {second} are the same to the model; give each text once.")


def text_rows(
    engine: Engine, facts: TextConfig, token_ids: TokenIds, attention_mask: AttentionMask, batch: int = 32
) -> Embeddings:
    """Vectors [texts, dim] of texts, batched by length without the padding that they do not need.

    Args:
        engine: runs the text tower.
        facts: limits of token ids.
        token_ids: [texts, tokens] int64.
        attention_mask: [texts, tokens] int64, 1 for tokens and 0 for padding, which is on the right.
        batch: texts in a run.

    Raises:
        ArrayError: If a text has no token, too many, or one that is not in the vocabulary.
    """
    seen = attention_mask != 0
    if not seen.any(axis=1).all():
        raise ArrayError("A row of attention_mask is 0 everywhere: there is no token to embed.")
    lengths = seen.shape[1] - seen[:, ::-1].argmax(axis=1)  # up to the last token, wherever padding is
    if lengths.max() > facts.max_tokens:
        raise ArrayError(f"A text may have up to {facts.max_tokens} tokens; one has {lengths.max()}.")
    if token_ids.min() < 0 or token_ids.max() >= facts.vocabulary:
        raise ArrayError(f"token_ids must be from 0 to {facts.vocabulary - 1}.")
    order = np.argsort(lengths, kind="stable")
    found: list[Embeddings] = []
    for start in range(0, len(order), batch):
        rows = order[start : start + batch]
        longest = int(lengths[rows].max())
        found.append(engine.text(token_ids[rows, :longest], attention_mask[rows, :longest]))
    vectors = np.concatenate(found)
    return vectors[np.argsort(order, kind="stable")]
