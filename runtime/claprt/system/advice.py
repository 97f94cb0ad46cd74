"""Warnings about what was assumed of a caller's input: each at most once in a process, at the caller's own line."""

from __future__ import annotations

import inspect
import warnings

_given: set[str] = set()


def warn_once(key: str, message: str, category: type[Warning]) -> None:
    """Warn, unless this process was warned about `key` before; where a filter raises, also the next time.

    Where a filter turns the warning into an error, it is raised here, and again the next time.

    Raises:
        Warning: If a filter turns the warning into an error.
    """
    if key in _given:
        return
    _given.add(key)
    try:
        warnings.warn(message, category, stacklevel=frames_to_the_caller())
    except Warning:
        _given.discard(key)
        raise


def was_given(key: str) -> bool:
    """Whether `warn_once` would do nothing."""
    return key in _given


def frames_to_the_caller() -> int:
    """How far up the stack, seen from whoever calls this, the code is that called into this package."""
    frame, level = inspect.currentframe(), 0
    while frame is not None and frame.f_globals.get("__name__", "").split(".")[0] == "claprt":
        frame, level = frame.f_back, level + 1
    return level
