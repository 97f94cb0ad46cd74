"""What `claprt index` shows while it runs and at its end."""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING

from claprt.errors import ClaprtError
from claprt.library.progress import Summary
from claprt.system.terminal import cells, say

if TYPE_CHECKING:
    from claprt.library.indexing import RunOptions

_EVERY_S = 0.5
_JSON_EVERY_S = 1.0
_DELAY_S = 0.5


class IndexProgress:
    """A line on a terminal, or JSON lines, on standard error.

    How many sounds there are is counted beside the run, but for archives of other machines, which would be read twice.
    """

    def __init__(self, options: argparse.Namespace, run_options: RunOptions) -> None:
        """Begin to count.

        Args:
            options: With `json`, `quiet` and `sources`.
            run_options: What the run does, of which the partition matters here.
        """
        self._json: bool = options.json
        self._shown = not options.quiet and (options.json or sys.stderr.isatty())
        self._next = time.monotonic() + _DELAY_S
        self._total: int | None = None
        self._width = 0
        if self._shown and "-" not in options.sources:
            threading.Thread(target=self._count, args=(list(options.sources), run_options), daemon=True).start()

    def _count(self, sources: Sequence[str], run_options: RunOptions) -> None:
        from claprt.library.archives import is_archive
        from claprt.library.sources import Sources, is_url

        if any(is_url(name) and is_archive(name) for name in sources):
            return
        with suppress(ClaprtError, OSError):  # the run itself says what is wrong
            self._total = sum(run_options.has(item.path) for item in Sources(sources).scan(lambda *_: False))

    def __enter__(self) -> IndexProgress:
        return self

    def __exit__(self, *_: object) -> None:
        self._clear()

    def report(self, summary: Summary) -> None:
        """Show how far the run is, if it was not shown just now."""
        if not self._shown or time.monotonic() < self._next:
            return
        self._next = time.monotonic() + (_JSON_EVERY_S if self._json else _EVERY_S)
        if self._json:
            say(json.dumps(summary.to_dict() | {"total": self._total}))
            return
        self._clear()
        line = progress_line(summary, self._total, max(20, shutil.get_terminal_size().columns - 1))
        self._width = cells(line)
        with suppress(OSError):
            sys.stderr.write(line)
            sys.stderr.flush()

    def _clear(self) -> None:
        if self._width:
            with suppress(OSError):
                sys.stderr.write(f"\r{' ' * self._width}\r")
                sys.stderr.flush()
            self._width = 0


def progress_line(summary: Summary, total: int | None, width: int) -> str:
    """How far a run is, in one line of at most so many columns; what does not fit is left out from the end.

    Args:
        summary: Counts so far.
        total: Sounds that there are, or None.
        width: [columns]
    """
    seconds = max(summary.seconds, 1e-9)
    fresh = summary.done - summary.unchanged
    parts = [
        f"{summary.done:,} of {total:,} sounds" if total else f"{summary.done:,} sounds",
        f"{fresh / seconds:.1f}/s",
        *([f"{_clock((total - summary.done) * seconds / fresh)} left"] if total and fresh else []),
        *([f"{summary.failed:,} failed"] if summary.failed else []),
        f"{summary.sound_s / 3600 / seconds:.3f} h of sound/s",
        _shares(summary),
    ]
    line = parts[0]
    for part in filter(None, parts[1:]):
        if len(line) + len(part) + 3 > width:
            break
        line += f" · {part}"
    return line[:width]


def summary_lines(library: str, summary: Summary) -> list[str]:
    """What a run has done, in words."""
    seconds = max(summary.seconds, 1e-9)
    counts = [
        (summary.embedded, "embedded"),
        (summary.copied, "of the same content as others"),
        (summary.unchanged - summary.failed_before, "unchanged"),
        (summary.touched, "with a new time and the same content"),
        (summary.returned, "there again"),
        (summary.vanished, "vanished (marked; claprt library prune removes them)"),
        (summary.failed, "failed"),
        (summary.failed_before, "failed before (--retry-failures tries them again)"),
    ]
    lines = [f"{library}: {summary.found:,} sounds found", *(f"  {count:,} {what}" for count, what in counts if count)]
    if summary.embedded:
        lines.append(
            f"  {summary.rows:,} rows of {_clock(summary.sound_s)} of sound in {_clock(seconds)}: "
            f"{summary.embedded / seconds:.1f} sounds/s, {summary.sound_s / 3600 / seconds:.3f} hours of sound per second"
        )
        lines.append(f"  time of the threads: {_shares(summary)}")
    if summary.failed:
        lines.append(f"  claprt library failures {library} lists what failed")
    if summary.unreadable:
        lines.append(f"  {len(summary.unreadable):,} folders or archives could not be read")
    return lines


def _shares(summary: Summary) -> str:
    """Where the time went: reading, computing and writing, each in percent of the three."""
    whole = summary.read_s + summary.compute_s + summary.write_s
    if not whole:
        return ""
    named = (("read", summary.read_s), ("compute", summary.compute_s), ("write", summary.write_s))
    return " ".join(f"{name} {100 * part / whole:.0f} %" for name, part in named)


def _clock(seconds: float) -> str:
    """A duration as `H:MM:SS`, or in seconds if it is short.

    Example:
        >>> _clock(4.21), _clock(3725)
        ('4.2 s', '1:02:05')
    """
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"
