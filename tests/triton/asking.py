"""Requests as a stranger to this package would make them, with tritonclient alone."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import soundfile
from tritonclient import grpc, http

from claprt.arrays import Array
from tests.triton.server import Server

TYPES = {"float32": "FP32", "int32": "INT32", "int64": "INT64", "object": "BYTES", "bool": "BOOL"}


def inputs_of(module: Any, given: dict[str, Array], **options: Any) -> list[Any]:
    tensors: list[Any] = []
    for name, array in given.items():
        tensor = module.InferInput(name, list(array.shape), TYPES[str(array.dtype)])
        tensor.set_data_from_numpy(array, **options)
        tensors.append(tensor)
    return tensors


def ask(server: Server, model: str, *outputs: str, **given: Array) -> dict[str, Array]:
    """Over gRPC."""
    with grpc.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}") as client:
        wanted = [grpc.InferRequestedOutput(name) for name in outputs]
        result: Any = client.infer(model, inputs_of(grpc, given), outputs=wanted)
        return {name: result.as_numpy(name) for name in outputs}


def ask_http(server: Server, model: str, *outputs: str, binary: bool = True, **given: Array) -> dict[str, Array]:
    """Over HTTP, tensors as bytes or as JSON."""
    with http.InferenceServerClient(f"127.0.0.1:{server.ports.http}", network_timeout=60) as client:
        wanted = [http.InferRequestedOutput(name, binary_data=binary) for name in outputs]
        result: Any = client.infer(model, inputs_of(http, given, binary_data=binary), outputs=wanted)
        return {name: result.as_numpy(name) for name in outputs}


def statistics(server: Server, model: str) -> dict[str, Any]:
    with http.InferenceServerClient(f"127.0.0.1:{server.ports.http}") as client:
        found: dict[str, Any] = client.get_inference_statistics(model)["model_stats"][0]
        return found


def strings(*values: str | bytes) -> Array:
    return np.array([value.encode() if isinstance(value, str) else value for value in values], np.object_)


def wav(samples: Array, rate: int, kind: str = "WAV", subtype: str = "FLOAT") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()
