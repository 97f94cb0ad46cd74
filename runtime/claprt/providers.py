"""Which execution provider runs a bundle, with which options: a pure choice, made from facts that the caller looks up.

What runs is what was asked for. If it cannot be had that is an error, unless the caller allowed a fallback; nothing here
ever asks onnxruntime for a provider and lets it quietly take another. `tensorrt` is never chosen by `auto`: building its
engines takes minutes.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType

from claprt.errors import OptionError, ProviderUnavailableError
from claprt.manifest import GraphFacts


class Provider(StrEnum):
    """Execution providers by the names that callers use."""

    CPU = "cpu"
    CUDA = "cuda"
    TENSORRT = "tensorrt"
    OPENVINO = "openvino"


ORT_NAMES: Mapping[Provider, str] = MappingProxyType(
    {
        Provider.CPU: "CPUExecutionProvider",
        Provider.CUDA: "CUDAExecutionProvider",
        Provider.TENSORRT: "TensorrtExecutionProvider",
        Provider.OPENVINO: "OpenVINOExecutionProvider",
    }
)
"""The same by the names that onnxruntime uses."""

_NEEDS_DRIVER = frozenset({Provider.CUDA, Provider.TENSORRT})
_EXTRA = MappingProxyType({Provider.CPU: "cpu", Provider.CUDA: "gpu", Provider.TENSORRT: "gpu"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a choice of provider depends on."""

    providers: frozenset[str]
    """onnxruntime's names of the providers that it was built with."""
    nvidia_gpus: int
    """GPUs that the NVIDIA driver reports; 0 where there is no driver."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """A provider and how it came to be chosen."""

    provider: Provider
    reason: str


def choose(asked: str, machine: Machine, *, fallback: bool) -> Choice:
    """The provider to run on.

    Args:
        asked: `auto`, or a provider's name.
        machine: what this machine has.
        fallback: whether the CPU may take over when `asked` cannot be had.

    Raises:
        OptionError: there is no provider of that name.
        ProviderUnavailableError: it cannot be had here and no fallback was allowed.
    """
    if asked == "auto":
        return _automatic(machine)
    if asked not in tuple(Provider):
        raise OptionError(f"provider={asked!r} is not known; choose auto or one of {', '.join(Provider)}.")
    provider = Provider(asked)
    missing = _why_not(provider, machine)
    if missing is None:
        return Choice(provider=provider, reason="asked for")
    if not fallback or _why_not(Provider.CPU, machine) is not None:
        raise ProviderUnavailableError(
            f'provider="{provider}" was asked for, and {missing}. Or ask for provider="auto", or allow the CPU with '
            "fallback=True."
        )
    return Choice(provider=Provider.CPU, reason=f"fallback, since {missing}")


def _automatic(machine: Machine) -> Choice:
    if _why_not(Provider.CUDA, machine) is None:
        return Choice(provider=Provider.CUDA, reason="a GPU with a driver and a CUDA build of onnxruntime")
    missing = _why_not(Provider.CPU, machine)
    if missing is not None:
        raise ProviderUnavailableError(f"No provider can be had: {missing}.")
    return Choice(provider=Provider.CPU, reason="no GPU that onnxruntime can use")


def _why_not(provider: Provider, machine: Machine) -> str | None:
    """Why a provider cannot be had, ending in what to do; None if it can."""
    if provider is Provider.OPENVINO:
        return "this release does not run on it yet"
    if ORT_NAMES[provider] not in machine.providers:
        have = ", ".join(sorted(machine.providers)) or "none"
        return (
            f"the installed onnxruntime has no {ORT_NAMES[provider]} (it has {have}); "
            f"install one that does: pip install 'claprt[{_EXTRA[provider]}]'"
        )
    if provider in _NEEDS_DRIVER and machine.nvidia_gpus == 0:
        return "no NVIDIA GPU with a driver was found (nvidia-smi should list one)"
    return None


def nvidia_gpus() -> int:
    """GPUs that the NVIDIA driver reports; 0 without a driver.

    Asked of the driver library itself, because asking onnxruntime for its CUDA provider on a machine without a driver
    can end the process.
    """
    count = ctypes.c_int(0)
    for library in ("libcuda.so.1", "nvcuda.dll"):
        try:
            driver = ctypes.CDLL(library)
        except OSError:
            continue
        if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0:
            return count.value
    return 0


def tensorrt_profiles(graph: GraphFacts, *, max_batch: int, tokens: tuple[int, int, int]) -> dict[str, str]:
    """TensorRT's shape profile options for a graph, derived from the manifest.

    Args:
        graph: the graph to run.
        max_batch: largest batch that an engine is built for.
        tokens: smallest, usual and largest number of tokens.

    Returns:
        The onnxruntime provider options `trt_profile_min_shapes`, `..._opt_shapes` and `..._max_shapes`.
    """
    sizes = {"batch": (1, max(1, max_batch // 2), max_batch), "tokens": tokens}
    profiles: dict[str, str] = {}
    for index, kind in enumerate(("min", "opt", "max")):
        shapes = [
            f"{tensor.name}:{'x'.join(str(axis if isinstance(axis, int) else sizes[axis][index]) for axis in tensor.shape)}"
            for tensor in graph.inputs
        ]
        profiles[f"trt_profile_{kind}_shapes"] = ",".join(shapes)
    return profiles


def default_threads() -> int:
    """Threads for one session: the CPUs this process may use, within its container's quota, one per physical core."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    return max(1, min(_physical_cores(allowed), _quota(Path("/sys/fs/cgroup"))))


def _physical_cores(cpus: Collection[int]) -> int:
    cores: set[str] = set()
    for cpu in cpus:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings.read_text().strip() if siblings.is_file() else str(cpu))
    return len(cores)


def _quota(cgroup: Path) -> int:
    """CPUs that a container's quota amounts to, rounded up; a very large number where there is none."""
    unlimited = 1 << 20
    try:
        quota, _, period = (cgroup / "cpu.max").read_text().partition(" ")
        if quota == "max":
            return unlimited
        return max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError):
        return unlimited
