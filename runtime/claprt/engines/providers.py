"""Execution providers by name, the precisions that each runs, and whether it can be had on this machine.

Which of them a bundle runs on is `claprt.engines.choice`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from claprt.bundle.graphs import Precision, Stage
from claprt.engines.hardware import Hardware
from claprt.system.extras import install_hint


class Provider(StrEnum):
    """Execution providers by the names that callers use."""

    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"
    OPENVINO = "openvino"
    NATIVE = "native"
    TENSORRT_RTX = "tensorrt-rtx"


ON_CPU = frozenset({Provider.CPU, Provider.OPENVINO, Provider.NATIVE})
"""Providers on which many sounds run side by side, one in a call."""
ON_GPU = frozenset(Provider) - ON_CPU
"""Providers on which many sounds run in batches."""
ORT_NAMES: Mapping[Provider, str] = MappingProxyType(
    {
        Provider.CPU: "CPUExecutionProvider",
        Provider.CUDA: "CUDAExecutionProvider",
        Provider.TENSORRT: "TensorrtExecutionProvider",
    }
)
"""The same by the names that onnxruntime uses; the others are run by runtimes of their own."""

AUTO = "auto"
PRECISIONS: Mapping[Provider, tuple[Precision, ...]] = MappingProxyType(
    {
        Provider.CPU: (Precision.INT8, Precision.FP32, Precision.INT8_SYMMETRIC),
        Provider.OPENVINO: (Precision.INT8, Precision.BF16, Precision.FP32),
        Provider.NATIVE: (Precision.INT8,),
        Provider.CUDA: (Precision.FP16, Precision.FP32),
        Provider.TENSORRT: (Precision.FP16, Precision.FP32),
        Provider.TENSORRT_RTX: (Precision.FP16, Precision.FP32, Precision.INT8_SYMMETRIC),
    }
)
"""What each provider can run, the fastest for text first; behind fp32 what `auto` does not choose."""


def provider_of(provider: Provider, stage: Stage) -> Provider:
    """What runs a stage: the provider itself, but for text beside the native engine, which has the audio tower alone."""
    return Provider.CPU if provider is Provider.NATIVE and stage is Stage.TEXT else provider


Pair = tuple[Provider, Precision]

_OPENVINO_INT8 = (2025, 3)
"""First version of OpenVINO that reads graphs in int8: earlier ones want a scale for each channel of what is quantised."""
_NEEDS_DRIVER = frozenset({Provider.CUDA, Provider.TENSORRT})
_EXTRA = MappingProxyType(
    {Provider.CPU: "cpu", Provider.CUDA: "gpu", Provider.TENSORRT: "gpu", Provider.OPENVINO: "openvino"}
)


def unavailable_reason(pair: Pair, machine: Hardware) -> str | None:
    """Why a pair cannot be had on this machine, ending in what to do; None if it can."""
    provider, precision = pair
    if precision not in PRECISIONS[provider]:
        *others, last = (other for other in Provider if precision in PRECISIONS[other])
        able = f"{', '.join(others)} and {last} do" if others else f"{last} does"
        return f"{provider} does not run {precision}; {able}"
    if provider is Provider.OPENVINO:
        return _openvino_unavailable(precision, machine)
    if provider is Provider.TENSORRT_RTX:
        return _tensorrt_rtx_unavailable(machine)
    if provider is Provider.NATIVE:
        return machine.no_native or _onnxruntime_unavailable(Provider.CPU, machine)
    return _onnxruntime_unavailable(provider, machine)


def _onnxruntime_unavailable(provider: Provider, machine: Hardware) -> str | None:
    if ORT_NAMES[provider] not in machine.providers:
        have = ", ".join(sorted(machine.providers)) or "none"
        return (
            f"the installed onnxruntime has no {ORT_NAMES[provider]} (it has {have}); "
            f"install one that does: {install_hint(_EXTRA[provider])}"
        )
    if provider in _NEEDS_DRIVER and machine.nvidia_gpus == 0:
        return "no NVIDIA GPU with a driver was found (nvidia-smi should list one)"
    return None


def _openvino_unavailable(precision: Precision, machine: Hardware) -> str | None:
    if machine.openvino is None:
        return f"OpenVINO is not installed: {install_hint('openvino')}"
    if precision is Precision.BF16 and "bf16" not in machine.features:
        return "this processor has neither AVX512-BF16 nor AMX, so bf16 would be computed in fp32; ask for int8 or fp32"
    if precision is Precision.INT8 and (found := _numbers(machine.openvino)) and found < _OPENVINO_INT8:
        least = ".".join(map(str, _OPENVINO_INT8))
        return f"OpenVINO {machine.openvino} does not read graphs in int8; {least} and later do: {install_hint('openvino')}"
    if precision is Precision.INT8 and "vnni" not in machine.features:
        return (
            "this processor has no VNNI, where OpenVINO's 8-bit sums can overflow; onnxruntime's do not: provider=\"cpu\""
        )
    return None


def _numbers(version: str) -> tuple[int, ...]:
    """Year and number of a version of OpenVINO; nothing of one that is written otherwise."""
    found = re.match(r"(\d+)\.(\d+)", version)
    return () if found is None else tuple(map(int, found.groups()))


def _tensorrt_rtx_unavailable(machine: Hardware) -> str | None:
    if machine.tensorrt_rtx is None:
        return f"TensorRT-RTX is not installed: {install_hint('tensorrt-rtx')}"
    if not machine.cards:
        return "no NVIDIA GPU with a driver was found (nvidia-smi should list one)"
    return None
