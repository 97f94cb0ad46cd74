"""What is looked for in a library, and how; values that are not possible are refused where one is made."""

from __future__ import annotations

import math
from dataclasses import dataclass

from claprt.errors import OptionError
from claprt.library.search.query import Query
from claprt.validation import whole_number


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchOptions:
    """How a library is searched."""

    threads: int | None = None
    """Of the scan; by default the physical cores that this process may use."""
    memory_mb: float = 1000
    """Bound on the pages of the scanned file that stay in memory while it is searched; a larger file is read again from the
    system's cache for every query."""
    filter_s: float = 30.0
    """Seconds that a filter may take."""
    plain_filters: bool = False
    """Whether filters are limited to functions that take little time and memory, as those of strangers should be."""

    def __post_init__(self) -> None:
        if not self.memory_mb >= 0:
            raise OptionError(f"memory_mb={self.memory_mb:g} is not possible; give megabytes, 0 or more.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One search."""

    query: Query
    k: int = 10
    where: str | None = None
    windows: bool = True
    names: float = 0.0
    missing: bool = False
    exact: bool = False

    def __post_init__(self) -> None:
        if whole_number("k", self.k) < 1:
            raise OptionError(f"k={self.k} is not possible; give the number of hits that you want, 1 or more.")
        if not 0 <= self.names < math.inf:
            raise OptionError(f"names={self.names} is not possible; give 0 or more.")
