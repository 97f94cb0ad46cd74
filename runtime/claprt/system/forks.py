"""What is forgotten in the child of a fork: sessions whose threads only the parent has.

A call into such a session, or its end, would wait for those threads for ever.
"""

from __future__ import annotations

import ctypes
import os
import sys
import weakref
from typing import Protocol


class Abandoned(Protocol):
    """Something that holds sessions of a runtime."""

    def abandon(self) -> None:
        """Forgets the sessions without ending them."""
        ...


_holders: weakref.WeakSet[Abandoned] = weakref.WeakSet()


def abandon_in_children(holder: Abandoned) -> None:
    """Lets every child that is forked from now on abandon what this holds, as long as it is there."""
    _holders.add(holder)


def _after_fork_in_child() -> None:
    for holder in list(_holders):
        holder.abandon()
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
