"""What this machine has: processors and what they can do, this process's share of them, GPUs."""

from __future__ import annotations

import ctypes
import hashlib
import os
import platform
import sys
from collections.abc import Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath


@dataclass(frozen=True, slots=True, kw_only=True)
class Hardware:
    """What a choice of provider and precision depends on."""

    providers: frozenset[str]
    """onnxruntime's names of the providers that it was built with."""
    nvidia_gpus: int
    """GPUs that the NVIDIA driver reports; 0 where there is no driver."""
    openvino: str | None = None
    """Version of the installed OpenVINO; None where there is none."""
    no_native: str | None = "claprt-native is not installed"
    """Why the native engine cannot run here, ending in what to do; None if it can."""
    features: frozenset[str] = frozenset()
    """What the processor has beyond the ordinary, as `cpu_features` names it."""
    tensorrt_rtx: str | None = None
    """Version of the installed TensorRT-RTX; None where there is none."""
    cards: tuple[str, ...] = ()
    """Compute capability of each GPU of the NVIDIA driver, such as `sm86`; empty too where nothing needs to know."""


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


_MAJOR, _MINOR = 75, 76
"""The driver's numbers of the attributes that make up a compute capability."""


def nvidia_cards() -> tuple[str, ...]:
    """Compute capability of each GPU that the NVIDIA driver reports, such as `sm86`; empty without a driver."""
    count = nvidia_gpus()
    if not count:
        return ()
    driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    cards: list[str] = []
    for index in range(count):
        device, major, minor = ctypes.c_int(), ctypes.c_int(), ctypes.c_int()
        if (
            driver.cuDeviceGet(ctypes.byref(device), index) == 0
            and driver.cuDeviceGetAttribute(ctypes.byref(major), _MAJOR, device) == 0
            and driver.cuDeviceGetAttribute(ctypes.byref(minor), _MINOR, device) == 0
        ):
            cards.append(f"sm{major.value}{minor.value}")
    return tuple(cards)


def trim_heap() -> None:
    """Give freed memory back to the system: glibc would keep the hundreds of megabytes that loading a graph took."""
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "malloc_trim"):  # not in every C library
            libc.malloc_trim(0)


def share_heap() -> None:
    """Make all threads allocate from one heap, before there are others: what each has of its own is hardly given back.

    For programs that unload models: of tiny on onnxruntime about 30 MB remain otherwise. Effective with glibc alone.
    """
    if sys.platform == "linux":
        libc = ctypes.CDLL(None)
        if hasattr(libc, "mallopt"):
            libc.mallopt(_ARENA_MAX, 1)


_ARENA_MAX = -8
"""`M_ARENA_MAX` of glibc's malloc.h."""
_UNLIMITED = 1 << 20
"""CPUs of a group without a quota."""


def default_threads() -> int:
    """Threads for one call: the CPUs this process may use, within the quota of its cgroups, one per physical core."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    return max(1, min(_physical_cores(allowed), _quota(Path("/sys/fs/cgroup"), _membership())))


def _membership() -> str:
    try:
        return Path("/proc/self/cgroup").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return ""  # not Linux


def _physical_cores(cpus: Collection[int]) -> int:
    cores: set[str] = set()
    for cpu in cpus:
        siblings = Path(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list")
        cores.add(siblings.read_text().strip() if siblings.is_file() else str(cpu))
    return len(cores)


def _quota(root: Path, membership: str = "") -> int:
    """CPUs that quotas amount to, rounded up; a very large number where there is none.

    A group's quota holds for every group in it, so the smallest of this process's group and those around it counts.

    Args:
        root: The folder where cgroups are mounted.
        membership: The groups of the process, as /proc/self/cgroup says it.
    """
    return min(_quota_of(group) for group in _groups(root, membership))


def _groups(root: Path, membership: str) -> set[Path]:
    """Folders of the groups that may have a quota, of both versions of cgroups; some may not be there.

    A container that sees its own group as the root may be told the host's path for it, so the roots are always among them.
    """
    mounts = {"": (root, root / "unified"), "cpu": (root / "cpu", root / "cpu,cpuacct")}
    found = {folder for folders in mounts.values() for folder in folders}
    for line in membership.splitlines():
        controllers, _, path = line.partition(":")[2].partition(":")
        inside = PurePosixPath(path.lstrip("/"))
        if ".." in inside.parts:
            continue  # of a group outside of what this process sees
        for controller in {"", "cpu"}.intersection(controllers.split(",")):
            found.update(mount / group for mount in mounts[controller] for group in (inside, *inside.parents))
    return found


def _quota_of(group: Path) -> int:
    """CPUs that one group's quota amounts to, rounded up; a very large number where it has none."""
    try:
        quota, _, period = (group / "cpu.max").read_text().partition(" ")
        return _UNLIMITED if quota == "max" else max(1, -(-int(quota) // int(period)))
    except (OSError, ValueError, ZeroDivisionError):
        pass
    try:  # version 1 of cgroups
        quota, period = (int((group / f"cpu.cfs_{name}_us").read_text()) for name in ("quota", "period"))
        return max(1, -(-quota // period)) if quota > 0 else _UNLIMITED
    except (OSError, ValueError, ZeroDivisionError):
        return _UNLIMITED
