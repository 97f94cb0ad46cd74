"""Shared memory that a client and a server on one machine exchange tensors in.

A region is used by one request at a time: its inputs lie at the beginning, its output after them. Regions are kept for the
next request, told to the server anew after it was lost, and given up where a server may still write into them.
"""

from __future__ import annotations

import contextlib
import os
import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path

import numpy as np

from claprt.arrays import Array

_PAGE = 4096


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """Where a tensor lies in a region."""

    region: str
    offset: int
    size: int
    shape: tuple[int, ...]
    dtype: str


class Region:
    """A piece of shared memory with a name that the server knows it by."""

    def __init__(self, size: int) -> None:
        self.name = f"claprt-{os.getpid()}-{uuid.uuid4().hex[:12]}"
        self.size = -(-size // _PAGE) * _PAGE
        self.memory = SharedMemory(create=True, size=self.size)
        try:
            with (Path("/dev/shm") / self.memory.name).open("r+b") as file:  # where it lies on Linux
                os.posix_fallocate(file.fileno(), 0, self.size)  # or a full /dev/shm would end this program later
        except FileNotFoundError:
            pass
        except OSError:
            self.memory.unlink()
            raise
        self.generation = -1
        """Which life of the server it was told to."""

    @property
    def key(self) -> str:
        """What the server opens it by."""
        return f"/{self.memory.name.lstrip('/')}"

    def put(self, array: Array, offset: int) -> Placed:
        """Copy an array [...] into the region at `offset` bytes, and return where it lies."""
        place = Placed(region=self.name, offset=offset, size=array.nbytes, shape=array.shape, dtype=str(array.dtype))
        self.view(place)[...] = array
        return place

    def view(self, place: Placed) -> Array:
        """The array [...] at a place, without a copy."""
        return np.ndarray(place.shape, place.dtype, buffer=self.memory.buf, offset=place.offset)

    def end(self) -> None:
        """Give the memory back; a server that still has it mapped keeps its own view."""
        with contextlib.suppress(FileNotFoundError):
            self.memory.unlink()
        with contextlib.suppress(BufferError):  # a view is still in use; the memory goes with it
            self.memory.close()


class Regions:
    """Regions that are free, and the server's knowledge of them."""

    def __init__(self, register: Callable[[str, str, int], None], unregister: Callable[[str], None]) -> None:
        self._register, self._unregister = register, unregister
        self._free: list[Region] = []
        self._lingering: list[str] = []
        """Regions that the server said were in use when it was told to forget them, as for a moment after a refusal."""
        self._lock = threading.Lock()

    def take(self, size: int, generation: int) -> Region:
        """A region of at least this size that the server knows in this life of it."""
        self._forget_lingering()
        with self._lock:
            fitting = [region for region in self._free if region.size >= size]
            region = fitting[-1] if fitting else None
            if region is not None:
                self._free.remove(region)
        region = region or Region(size)
        if region.generation != generation:
            if region.generation >= 0:
                with contextlib.suppress(Exception):  # it may be that the server forgot it
                    self._unregister(region.name)
            try:
                self._register(region.name, region.key, region.size)
            except Exception:
                region.end()
                raise
            region.generation = generation
        return region

    def give_back(self, region: Region) -> None:
        """Keep a region for the next request."""
        with self._lock:
            self._free.append(region)

    def give_up(self, region: Region) -> None:
        """End a region that a server may still write into."""
        try:
            self._unregister(region.name)
        except Exception:  # noqa: BLE001 - a lost server has forgotten it, others are told once more
            with self._lock:
                self._lingering.append(region.name)
        region.end()

    def _forget_lingering(self) -> None:
        with self._lock:
            names, self._lingering = self._lingering, []
        for name in names:
            with contextlib.suppress(Exception):
                self._unregister(name)

    def end(self) -> None:
        """End all of them."""
        while self._free:
            self.give_up(self._free.pop())
        self._forget_lingering()
