"""What a fork means for engines on a server: the child begins anew, and leaves alone what is its parent's."""

from __future__ import annotations

import os
import weakref
from typing import Protocol


class Abandonable(Protocol):
    """Something whose connections do not survive a fork."""

    def abandon(self) -> None:
        """Begins anew, without ending what the parent still uses."""
        ...


engines: weakref.WeakSet[Abandonable] = weakref.WeakSet()
"""Those that are alive in this process."""

of_parents: list[object] = []
"""Kept, because whatever ended them would end them for the parent, or wait for threads that only the parent has."""


def _after_fork_in_child() -> None:
    for engine in list(engines):
        engine.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
