"""Forks: what a child process must not use, nor end, of its parent's.

The threads of a runtime and the connections to a server exist in the parent only. In the child, a call into a session, or
the end of one, waits for those threads for ever; and closing a connection closes the parent's.
"""

from __future__ import annotations

import ctypes
import os
import sys
import weakref
from typing import Protocol


class ForgetsAfterFork(Protocol):
    """Holder of sessions or connections."""

    def forget_after_fork(self) -> None:
        """Begin anew in the child, without ending what the parent uses."""
        ...


_holders: weakref.WeakSet[ForgetsAfterFork] = weakref.WeakSet()


def forget_in_children(holder: ForgetsAfterFork) -> None:
    """Call `holder.forget_after_fork` in every child forked from now on, for as long as the holder exists."""
    _holders.add(holder)


def never_end(*objects: object) -> None:
    """Keep objects from being destroyed, even when this process ends."""
    for held in objects:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(held))


def _after_fork_in_child() -> None:
    for holder in list(_holders):
        holder.forget_after_fork()
    if "onnxruntime" in sys.modules:
        _end_without_exit_handlers()


def _end_without_exit_handlers() -> None:
    """Make this process end with `_exit` once Python has finished.

    onnxruntime 1.31 waits in an exit handler for threads that exist in the parent only, so a forked child that has merely
    imported it never ends. glibc's `on_exit` runs the handler registered last first, with the exit status, which is all
    that `_exit` needs; Python has flushed its streams by then. Without `on_exit` nothing is done.
    """
    libc = ctypes.CDLL(None)
    if hasattr(libc, "on_exit"):
        libc.on_exit(ctypes.cast(libc._exit, ctypes.c_void_p), None)  # noqa: SLF001


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
