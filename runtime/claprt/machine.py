"""What this machine has: processors and what they can do, a container's share of them, GPUs."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import sys
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What a choice of provider and precision depends on."""

    providers: frozenset[str]
    """onnxruntime's names of the providers that it was built with."""
    nvidia_gpus: int
    """GPUs that the NVIDIA driver reports; 0 where there is no driver."""
    openvino: str | None = None
    """Version of the installed OpenVINO; None where there is none."""
    features: frozenset[str] = frozenset()
    """What the processor has beyond the ordinary, as `cpu_features` names it."""


_FEATURES = {
    "vnni": ("avx512_vnni", "avx_vnni", "asimddp"),
    "bf16": ("avx512_bf16", "amx_bf16"),
    "amx": ("amx_bf16", "amx_int8"),
}


@cache
def cpu_features() -> frozenset[str]:
    """`vnni` (8-bit products), `bf16` (AVX512-BF16 or AMX), `amx` (a matrix unit): what Linux says the processor has.

    Source: the flags of /proc/cpuinfo. Where there is no such file, nothing is claimed.
    """
    flags = _cpu_flags()
    return frozenset(feature for feature, names in _FEATURES.items() if flags.intersection(names))


@cache
def _cpu_flags() -> frozenset[str]:
    for line in _cpuinfo():
        if line.startswith(("flags", "Features")):
            return frozenset(line.partition(":")[2].split())
    return frozenset()


@cache
def cpu_identity() -> str:
    """One word that differs between processors for which a runtime may prepare a graph differently."""
    model = [line for line in _cpuinfo() if line.startswith(("vendor_id", "model", "cpu family", "CPU part"))][:5]
    facts = (platform.machine(), platform.processor(), model, sorted(_cpu_flags()))
    return hashlib.sha256(repr(facts).encode()).hexdigest()[:16]


def _cpuinfo() -> list[str]:
    try:
        return Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []


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


def trim_heap() -> None:
    """Gives freed memory back to the system: glibc would keep the hundreds of megabytes that loading a graph took."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):  # not in every C library
            libc.malloc_trim(0)


def default_threads() -> int:
    """Threads for one call: the CPUs this process may use, within its container's quota, one per physical core."""
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
        pass
    try:  # version 1 of cgroups
        quota, period = (int((cgroup / "cpu" / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return max(1, -(-quota // period)) if quota > 0 else unlimited
    except (OSError, ValueError, ZeroDivisionError):
        return unlimited
