"""`claprt serve` as a process of its own, on a free port."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")

_LINE = re.compile(r"^serving .* and ws://[^/]+:(?P<port>\d+)/clap, fingerprint (?P<fingerprint>\S+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Cost:
    """What a request took."""

    took_s: float
    cpu_s: float
    memory_mb: float
    """At its peak, above what the service had, 10^6 bytes."""


class Process:
    """The command with these arguments; `with` waits until it says that it serves."""

    def __init__(self, log: Path, *arguments: str, environment: dict[str, str] | None = None) -> None:
        self.log, self.arguments = log, arguments
        self.environment = {**os.environ, **(environment or {})}
        self.popen: subprocess.Popen[bytes] | None = None
        self.port = 0
        self.fingerprint = ""

    def start(self) -> Process:
        command = [sys.executable, "-m", "claprt", "serve", "--port", "0", *self.arguments]
        with self.log.open("wb") as log:
            self.popen = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=self.environment)
        return self

    def wait(self, timeout_s: float = 60) -> Process:
        """Until it serves."""
        assert self.popen is not None
        until = time.monotonic() + timeout_s
        while (found := _LINE.search(self.said())) is None:
            assert self.popen.poll() is None, self.said()
            assert time.monotonic() < until, self.said()
            time.sleep(0.02)
        self.port, self.fingerprint = int(found["port"]), found["fingerprint"]
        return self

    def url(self, path: str, scheme: str = "http") -> str:
        return f"{scheme}://127.0.0.1:{self.port}{path}"

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")

    def rss_mb(self) -> float:
        """Resident memory, 10^6 bytes."""
        assert self.popen is not None
        status = Path(f"/proc/{self.popen.pid}/status").read_text(encoding="utf-8")
        return int(next(line for line in status.splitlines() if line.startswith("VmRSS")).split()[1]) * 1024 / 1e6

    def peak_mb(self) -> float:
        """The most resident memory since `forget_peak`, 10^6 bytes."""
        assert self.popen is not None
        status = Path(f"/proc/{self.popen.pid}/status").read_text(encoding="utf-8")
        return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) * 1024 / 1e6

    def forget_peak(self) -> None:
        """Lets the peak begin anew."""
        assert self.popen is not None
        Path(f"/proc/{self.popen.pid}/clear_refs").write_text("5", encoding="ascii")

    def cpu_s(self) -> float:
        """Processor time of all its threads so far."""
        assert self.popen is not None
        fields = Path(f"/proc/{self.popen.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def cost_of(self, ask: Callable[[], T]) -> tuple[T, Cost]:
        """What a request is answered, and what the service has taken for it. Nothing else may be asked meanwhile."""
        self.forget_peak()
        memory, cpu, started = self.rss_mb(), self.cpu_s(), time.perf_counter()
        answer = ask()
        return answer, Cost(time.perf_counter() - started, self.cpu_s() - cpu, max(0.0, self.peak_mb() - memory))

    def tell(self, signal_number: int) -> None:
        assert self.popen is not None
        self.popen.send_signal(signal_number)

    def ended(self, timeout_s: float = 30) -> int:
        """The exit status, once there is one."""
        assert self.popen is not None
        return self.popen.wait(timeout_s)

    def stop(self) -> int:
        """The exit status after SIGTERM; a process that does not end is killed, and fails."""
        assert self.popen is not None
        if self.popen.poll() is None:
            self.tell(signal.SIGTERM)
        try:
            return self.ended()
        except subprocess.TimeoutExpired:
            self.popen.kill()
            self.popen.wait()
            raise

    def __enter__(self) -> Process:
        try:
            return self.start().wait()
        except BaseException:
            if self.popen is not None:
                self.popen.kill()
            raise

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()
