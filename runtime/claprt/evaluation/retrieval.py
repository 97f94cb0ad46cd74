"""Retrieval: recall, and mean average precision by two conventions.

Recall and mAP@10 as in the language-based audio retrieval task of DCASE.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt.errors import OptionError

CONVENTIONS = ("claprt", "laion")
"""How the mean average precision of audio-to-text retrieval is computed; see `retrieval`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrieval:
    """Ranking of candidates for queries, some of which are right."""

    queries: int
    recall: Mapping[int, float]
    """R@k: share of queries with a right candidate among the first k."""
    map10: float
    """Mean average precision of the first ten, by the convention."""
    convention: str = "claprt"

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        recall = {f"R@{k}": share for k, share in self.recall.items()}
        return {"queries": self.queries, **recall, "mAP@10": self.map10, "convention": self.convention}


def retrieval(cosines: NDArray[np.float32], right: NDArray[np.bool_], convention: str = "claprt") -> Retrieval:
    """Score a ranking.

    In LAION's evaluation, the right candidates of a query are numbered in the order of the candidates rather than of their
    ranks, and their number is not limited to ten: `sum(i / rank_i)` over those that rank among the first ten, divided by
    the number of right candidates. For queries with one right candidate that is the average precision; otherwise it is
    larger or smaller, and may be above 1. Published audio-to-text figures are of that kind.

    Args:
        cosines: [queries, candidates] float32.
        right: Which candidates are right, [queries, candidates] bool.
        convention: `claprt` for the average precision, `laion` for LAION's number.

    Raises:
        OptionError: If the convention is not known.
    """
    check_convention(convention)
    order = np.argsort(-cosines, axis=1, kind="stable")
    ranked = np.take_along_axis(right, order, axis=1)
    if convention == "laion":
        map10 = float(np.mean([_laion_precision(row, these) for row, these in zip(order, right, strict=True)]))
    else:
        first = ranked[:, :10]
        precision = np.cumsum(first, axis=1) / np.arange(1, first.shape[1] + 1)
        possible = np.minimum(right.sum(1), 10)
        map10 = float(((precision * first).sum(1) / np.maximum(possible, 1)).mean())
    return Retrieval(
        queries=len(cosines),
        recall={k: float(ranked[:, :k].any(1).mean()) for k in (1, 5, 10)},
        map10=map10,
        convention=convention,
    )


def _laion_precision(order: NDArray[np.int64], right: NDArray[np.bool_]) -> float:
    """LAION's number for one query: candidates by rank [candidates], and which are right [candidates]."""
    ranks = np.argsort(order)[right]
    found = ranks[ranks < 10]
    return float((np.arange(1, found.size + 1) / (found + 1)).sum()) / max(int(right.sum()), 1)


def check_convention(convention: str) -> None:
    """Check the name of a convention.

    Raises:
        OptionError: If it is not known.
    """
    if convention not in CONVENTIONS:
        raise OptionError(f"convention={convention!r} is not known; choose one of {', '.join(CONVENTIONS)}.")
