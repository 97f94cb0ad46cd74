"""A Triton server in the environment that has one, as a process of its own."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from pathlib import Path
from types import TracebackType

from tools.pypi_triton_server import Ports, is_ready, shared_regions

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-triton" / "bin" / "python"


class Server:
    """`tools/pypi_triton_server.py` on free ports; `with` waits until it is ready.

    Arguments are the module's, and after `--` tritonserver's own.
    """

    def __init__(self, repository: Path, log: Path, *arguments: str) -> None:
        self.repository, self.log, self.arguments = repository, log, arguments
        self.ports = Ports.free()
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def grpc(self) -> str:
        return f"triton://127.0.0.1:{self.ports.grpc}"

    @property
    def http(self) -> str:
        return f"triton+http://127.0.0.1:{self.ports.http}"

    def start(self) -> Server:
        command = [str(PYTHON), str(ROOT / "tools" / "pypi_triton_server.py"), str(self.repository)]
        for name in ("http", "grpc", "metrics"):
            command += [f"--{name}-port", str(getattr(self.ports, name))]
        command += self.arguments
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)
        return self

    def wait(self, timeout_s: float = 60) -> Server:
        assert self.process is not None
        until = time.monotonic() + timeout_s
        while not is_ready(self.ports.http):
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < until, self.said()
            time.sleep(0.05)
        return self

    def said(self) -> str:
        return self.log.read_text(encoding="utf-8", errors="replace")[-3000:]

    @property
    def pid(self) -> int:
        """Of tritonserver itself."""
        assert self.process is not None
        until = time.monotonic() + 20
        while not (found := children(self.process.pid)):
            assert time.monotonic() < until, self.said()
            time.sleep(0.05)
        return found[0]

    def steps(self, model: str) -> list[int]:
        """Pids of a model's python step, one for each instance."""
        commands = {pid: Path(f"/proc/{pid}/cmdline").read_bytes().decode() for pid in children(self.pid)}
        return [pid for pid, command in commands.items() if re.search(rf"/{model}/1/model\.py", command)]

    def step(self, model: str) -> int:
        """Pid of a model's python step."""
        found = self.steps(model)
        assert found, f"no step of {model} runs"
        return found[0]

    def wait_until_busy(self, model: str, before: dict[int, float], timeout_s: float = 20) -> None:
        """Return once every instance of a python step has computed since its processor times were `before`."""
        until = time.monotonic() + timeout_s
        while any(processor_s(pid) <= taken for pid, taken in before.items()):
            assert time.monotonic() < until, f"no request has reached every instance of {model}"
            time.sleep(0.005)

    def kill(self) -> None:
        """As the kernel would, without a goodbye; what watches over it goes first, so that it stays away."""
        assert self.process is not None
        server = self.pid
        regions = shared_regions(server)
        self.process.kill()
        os.killpg(server, signal.SIGKILL)
        self.process.wait(20)
        for path in regions:  # 16 MB for each step, which nobody else would give back
            path.unlink(missing_ok=True)

    def memory_mb(self) -> float:
        """Of the server and its steps, 10^6 bytes, shared pages counted once."""
        total = 0
        for pid in (self.pid, *children(self.pid)):
            rollup = Path(f"/proc/{pid}/smaps_rollup").read_text(encoding="utf-8")
            total += int(next(line for line in rollup.splitlines() if line.startswith("Pss:")).split()[1])
        return total * 1024 / 1e6

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(30)
            except subprocess.TimeoutExpired:
                self.kill()
                raise

    def __enter__(self) -> Server:
        return self.start().wait()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """At once: an orderly end takes seconds, and the server that all tests share ends in order."""
        if self.process is not None and self.process.poll() is None:
            self.kill()


def processor_s(pid: int) -> float:
    """Processor time that a process has taken, in steps of 10 ms."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def children(pid: int) -> list[int]:
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").iterdir():
        found += map(int, (task / "children").read_text(encoding="utf-8").split())
    return found
