"""What is compared takes turns, so that a slow moment of the machine meets all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

PAUSE_S = 0.05
"""Between turns: threads that still wait for work would slow the next."""


def rates(work: Mapping[str, Callable[[], Any]], count: int, rounds: int) -> dict[str, NDArray[np.float64]]:
    """How many of its `count` sounds each work does in a second, [rounds] for each name; one round before is to warm up."""
    found: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(-1, rounds):
        for name, run in work.items():
            time.sleep(PAUSE_S)
            started = time.perf_counter()
            run()
            if turn >= 0:
                found[name].append(count / (time.perf_counter() - started))
    return {name: np.array(taken) for name, taken in found.items()}
