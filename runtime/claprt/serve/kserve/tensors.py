"""Tensors of KServe v2 requests and responses, in JSON or behind it in binary.

A body is JSON; with the header `Inference-Header-Content-Length` so many bytes of it are, and the data of tensors that
state `binary_data_size` follow in their order. An element of BYTES is its length in four bytes, little-endian, then its
bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Mapping, Sequence
from math import prod
from typing import Annotated, Any

import msgspec
import numpy as np
from msgspec import Meta, Struct, field

from claprt.arrays import Array
from claprt.errors import OptionError, TextError
from claprt.serve.errors import ShapeError
from claprt.serve.schemas import decode_json

LENGTH_HEADER = "inference-header-content-length"
_SHARED_MEMORY = "shared_memory_region"
_NUMBER_BYTES = 64
"""Bytes of JSON that the data of a tensor of numbers may have: there is none of more than one number."""


class InputTensor(Struct, kw_only=True):
    """A tensor of a request."""

    name: str
    datatype: str
    shape: Annotated[list[int], Meta(max_length=8)]
    data: msgspec.Raw = msgspec.Raw()
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])


class OutputChoice(Struct, kw_only=True):
    """An output that is asked for."""

    name: str
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])


class InferRequest(Struct, kw_only=True):
    """The JSON of a request; parameters that are not known are ignored, as the protocol has it."""

    inputs: list[InputTensor]
    outputs: list[OutputChoice] = field(default_factory=list[OutputChoice])
    id: str = ""
    parameters: dict[str, Any] = field(default_factory=dict[str, Any])


Elements = Sequence[str | bytes | int]
"""The elements of an input: whole numbers, or of BYTES strings where they came in JSON or are text, else bytes."""


def decode_request(
    body: bytes, json_bytes: int | None, most: int, texts: Collection[str]
) -> tuple[InferRequest, dict[str, Elements]]:
    """Decode a request to its JSON and the elements of its inputs.

    Args:
        body: The whole body.
        json_bytes: How many bytes of it are JSON; None for all.
        most: Limit on strings in it, and on the elements of a tensor.
        texts: Names of the inputs that are text, in binary too.

    Raises:
        OptionError: If a tensor has too many elements, or is in shared memory.
        ShapeError: If it is not JSON of that shape, or data and shapes disagree.
        TextError: If text in binary is not UTF-8.
    """
    if json_bytes is not None and json_bytes > len(body):
        raise ShapeError(f"{LENGTH_HEADER} is {json_bytes}, and the body has {len(body)} bytes.")
    request = decode_json(body[:json_bytes], InferRequest, most)
    elements: dict[str, Elements] = {}
    at = len(body) if json_bytes is None else json_bytes
    for tensor in request.inputs:
        if tensor.name in elements:
            raise ShapeError(f"The input {tensor.name[:60]!r} is there twice.")
        if _SHARED_MEMORY in tensor.parameters:
            raise OptionError("This service has no shared memory; send the tensor's data in the request.")
        if min(tensor.shape, default=0) < 0 or prod(tensor.shape) > most:
            raise OptionError(f"{tensor.name[:60]} has the shape {tensor.shape}; there may be up to {most} elements.")
        size = tensor.parameters.get("binary_data_size")
        if size is None:
            elements[tensor.name] = _from_json(tensor)
            continue
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= len(body) - at:
            raise ShapeError(f"binary_data_size of {tensor.name[:60]} is {size!r:.30}; {len(body) - at} bytes are left.")
        elements[tensor.name] = _from_binary(tensor, memoryview(body)[at : at + size], is_text=tensor.name in texts)
        at += size
    if at != len(body):
        raise ShapeError(f"{len(body) - at} bytes of the body belong to no tensor.")
    return request, elements


def _from_json(tensor: InputTensor) -> Elements:
    count, text = prod(tensor.shape), tensor.datatype == "BYTES"
    if not text and len(bytes(tensor.data)) > _NUMBER_BYTES:
        raise _disagrees(tensor, "more data")
    try:
        values: Elements = msgspec.json.decode(tensor.data, type=list[str] if text else list[int])
    except (msgspec.MsgspecError, UnicodeError) as error:
        what = "strings" if text else "whole numbers"
        raise ShapeError(f"data of {tensor.name[:60]} is not a list of {what}: {error}.") from error
    if len(values) != count:
        raise _disagrees(tensor, f"{len(values)} elements")
    return values


def _from_binary(tensor: InputTensor, data: memoryview, *, is_text: bool) -> Elements:
    count = prod(tensor.shape)
    if tensor.datatype == "INT32":
        if len(data) != 4 * count:
            raise _disagrees(tensor, f"{len(data)} bytes")
        return np.frombuffer(data, "<i4").tolist()
    if tensor.datatype != "BYTES":
        raise ShapeError(f"{tensor.name[:60]} is {tensor.datatype[:20]}; inputs here are BYTES and INT32.")
    values, at = list[str | bytes](), 0
    while at < len(data):
        (length,) = struct.unpack_from("<I", data, at) if at + 4 <= len(data) else (len(data),)
        at += 4
        if length > len(data) - at or len(values) == count:
            raise _disagrees(tensor, "other elements in its binary data")
        try:
            values.append(str(data[at : at + length], "utf-8") if is_text else bytes(data[at : at + length]))
        except UnicodeError as error:
            raise TextError(f"{tensor.name} is not UTF-8: {error}.") from error
        at += length
    if len(values) != count:
        raise _disagrees(tensor, f"{len(values)} elements")
    return values


def _disagrees(tensor: InputTensor, found: str) -> ShapeError:
    return ShapeError(f"{tensor.name[:60]} has the shape {tensor.shape} in {tensor.datatype[:20]}, and {found}.")


def check_outputs(request: InferRequest, outputs: Collection[str]) -> None:
    """Check the outputs that are asked for, before they are computed.

    Args:
        request: The request.
        outputs: Names of all outputs of the model.

    Raises:
        OptionError: If the model has no such output, or classes or shared memory are asked for.
    """
    for choice in request.outputs:
        if choice.name not in outputs:
            raise OptionError(f"There is no output {choice.name[:60]!r} here; there is {', '.join(outputs)}.")
        if refused := choice.parameters.keys() & {"classification", _SHARED_MEMORY}:
            raise OptionError(f"{refused.pop()} of {choice.name} is not possible here; leave it out.")


def encode_response(
    request: InferRequest, model: Mapping[str, str], outputs: Mapping[str, Array]
) -> tuple[Sequence[bytes], int | None]:
    """Encode float32 outputs; the parts of a body, and how many bytes of it are JSON, None for all.

    Args:
        request: The request, checked by `check_outputs`; its outputs are all if it names none.
        model: `model_name` and `model_version`.
        outputs: All outputs of the model, [batch, …] float32 each.
    """
    chosen = {choice.name: choice.parameters for choice in request.outputs} or {name: dict[str, Any]() for name in outputs}
    default = bool(request.parameters.get("binary_data_output"))
    described, parts = list[dict[str, Any]](), list[bytes]()
    for name, parameters in chosen.items():
        array = outputs[name]
        tensor: dict[str, Any] = {"name": name, "datatype": "FP32", "shape": list(array.shape)}
        if parameters.get("binary_data", default):
            parts.append(array.astype("<f4").tobytes())
            tensor["parameters"] = {"binary_data_size": len(parts[-1])}
        else:
            tensor["data"] = array.ravel().tolist()
        described.append(tensor)
    identity = {"id": request.id} if request.id else {}
    head = msgspec.json.encode({**model, **identity, "outputs": described})
    return [head, *parts], len(head) if parts else None
