"""Run the Triton server that PyPI has on a model repository: for development and tests, on Linux x86-64.

    python tools/pypi_triton_server.py REPOSITORY [-- ARGUMENT …]

The wheel `nvidia-pytriton` carries the real `tritonserver` with the python backend and the local response cache, and no
other backend. It is run as it is; nothing of pytriton itself is used. Its python steps run in this interpreter's
environment, which needs numpy < 2: with numpy 2 models load, read zeros and answer nothing, without a word in the log.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from claprt.errors import ClaprtError, MissingDependencyError, ServerError
from claprt.system.atomic import atomic_file

HTTP_PORT, GRPC_PORT, METRICS_PORT = 8000, 8001, 8002
_STEP_MEMORY = 16 << 20
_CACHE = 64 << 20
_EXIT_S = 5
_WATCH_S = 0.25
_MOST_RESTARTS, _RESTARTS_WITHIN_S = 5, 60


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """Where the server listens, on 127.0.0.1."""

    http: int = HTTP_PORT
    grpc: int = GRPC_PORT
    metrics: int = METRICS_PORT

    @staticmethod
    def free() -> Ports:
        """Three ports that nothing listens on."""
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(3)]
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            http, grpc, metrics = (each.getsockname()[1] for each in sockets)
        return Ports(http=http, grpc=grpc, metrics=metrics)

    def check_free(self) -> None:
        """Refuses ports that somebody listens on, who would be taken for the server.

        Raises:
            ServerError: one of them is taken.
        """
        for port in (self.http, self.grpc, self.metrics):
            with socket.socket() as tried:
                tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what a server has left a moment ago is free
                try:
                    tried.bind(("127.0.0.1", port))
                except OSError as error:
                    message = f"Port {port} of 127.0.0.1 cannot be had: {error.strerror}. Choose another."
                    raise ServerError(message) from error


@dataclass(slots=True)
class TritonServer:
    """A server process."""

    repository: Path
    ports: Ports = field(default_factory=Ports)
    config_name: str = "python"
    """Which of a model's configurations is read: `configs/<name>.pbtxt` where there is one."""
    control: str = "none"
    """`none` loads all models and keeps them; `explicit` lets clients load and unload."""
    load: Sequence[str] = ()
    """Models to load at the start where `control` is `explicit`."""
    arguments: Sequence[str] = ()
    """More arguments of tritonserver itself, as for TLS or restricted protocols; its readiness must stay open to all."""
    process: subprocess.Popen[bytes] | None = None
    regions: frozenset[Path] = frozenset()
    """Shared memory that the server and its steps had when they were last looked at; killed, they leave it behind."""

    def start(self) -> TritonServer:
        """Start the process without waiting for it.

        Raises:
            MissingDependencyError: this environment does not have the server, or not the numpy that its steps need.
            ServerError: there is no such repository, or a port is taken.
        """
        if not any(self.repository.glob("*/config.pbtxt")):
            raise ServerError(f"There is no model repository at {self.repository}; `make triton` builds one.")
        self.ports.check_free()
        self.process = subprocess.Popen(self._command(), env=_environment(), start_new_session=True)
        return self

    def wait_until_ready(self, timeout_s: float = 120.0) -> float:
        """Waits for all models; returns the seconds that it took.

        Raises:
            ServerError: the process ended, or the models were not ready in time; its log says why.
        """
        assert self.process is not None
        started = time.monotonic()
        while time.monotonic() - started < timeout_s:
            if self.process.poll() is not None:
                raise ServerError(f"tritonserver ended with {self.process.returncode}. Its log says why.")
            if is_ready(self.ports.http):
                return time.monotonic() - started
            time.sleep(0.02)
        self.kill()
        raise ServerError(f"tritonserver was not ready within {timeout_s:g} s. Its log says why.")

    def stop(self) -> None:
        """End the server as an operator would, and harder where it does not obey."""
        if self.process is None or self.process.poll() is not None:
            return
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(_EXIT_S + 10)
        except subprocess.TimeoutExpired:
            self.kill()
        self._end_steps()

    def kill(self) -> None:
        """End the server and its python steps at once."""
        if self.process is not None:
            self._end_steps()
            self.process.wait()

    def _end_steps(self) -> None:
        assert self.process is not None
        with contextlib.suppress(ProcessLookupError):
            self.regions |= shared_regions(self.process.pid)
            os.killpg(self.process.pid, signal.SIGKILL)  # steps are of the server's own session and may outlive it
        for path in self.regions:
            path.unlink(missing_ok=True)

    def _command(self) -> list[str]:
        folder = _server_folder()
        command = [str(folder / "bin" / "tritonserver"), f"--model-repository={self.repository.resolve()}"]
        command += [f"--backend-directory={_backends(folder)}", f"--cache-directory={folder / 'caches'}"]
        for name in ("http", "grpc", "metrics"):
            command += [f"--{name}-address=127.0.0.1", f"--{name}-port={getattr(self.ports, name)}"]
        command += [
            f"--model-config-name={self.config_name}",
            f"--model-control-mode={self.control}",
            f"--cache-config=local,size={_CACHE}",
            f"--backend-config=python,shm-default-byte-size={_STEP_MEMORY}",
            f"--exit-timeout-secs={_EXIT_S}",
            "--allow-gpu-metrics=false",
            "--disable-auto-complete-config",
        ]
        return [*command, *(f"--load-model={name}" for name in self.load), *self.arguments]


def shared_regions(pid: int) -> frozenset[Path]:
    """Files in /dev/shm that a server exchanges tensors with its steps in."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text(encoding="utf-8", errors="replace")
    except OSError:
        return frozenset()
    return frozenset(Path(line.split()[5]) for line in maps.splitlines() if "/dev/shm/triton_python_backend" in line)


def is_ready(http_port: int) -> bool:
    """Whether a server on this machine says that it and all its models are ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{http_port}/v2/health/ready", timeout=2) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def why_not() -> str | None:
    """Why this environment cannot run the server, ending in what to do; None if it can."""
    if sys.platform != "linux" or os.uname().machine != "x86_64":
        return "the Triton server of PyPI is for Linux on x86-64 only; use NVIDIA's container elsewhere"
    if importlib.util.find_spec("pytriton") is None:
        return "the Triton server is not installed in this environment: pip install 'numpy<2' nvidia-pytriton"
    if int(np.__version__.split(".", maxsplit=1)[0]) >= 2:
        return f"the server's python steps need numpy < 2 and this environment has {np.__version__}; make one of its own"
    return None


def _server_folder() -> Path:
    reason = why_not()
    if reason is not None:
        raise MissingDependencyError(reason[:1].upper() + reason[1:] + ".")
    found = importlib.util.find_spec("pytriton")
    assert found is not None and found.origin is not None  # noqa: PT018
    return Path(found.origin).parent / "tritonserver"


def _backends(folder: Path) -> Path:
    """A backend folder whose python backend has the stub of this interpreter's version.

    Raises:
        MissingDependencyError: If the server has no stub for this version of Python.
    """
    stub = folder / "python_backend_stubs" / f"{sys.version_info.major}.{sys.version_info.minor}"
    if not stub.is_dir():
        have = ", ".join(sorted(path.name for path in stub.parent.iterdir()))
        raise MissingDependencyError(f"The server has no python stub for {stub.name}; it has those for {have}.")
    backends = Path(sys.prefix) / "share" / "claprt-triton"
    python = backends / "python"
    python.mkdir(parents=True, exist_ok=True)
    for source in (*(folder / "backends" / "python").iterdir(), stub / "triton_python_backend_stub"):
        target = python / source.name
        if source.is_file() and not (target.exists() and target.stat().st_size == source.stat().st_size):
            with atomic_file(target) as part:
                shutil.copy2(source, part)
    return backends


def _environment() -> dict[str, str]:
    """The stub finds this environment's packages through `python3` on PATH, and needs libpython."""
    libraries = [Path(sysconfig.get_paths()["purelib"]) / "nvidia_pytriton.libs", sysconfig.get_config_var("LIBDIR")]
    known = [os.environ["LD_LIBRARY_PATH"]] if os.environ.get("LD_LIBRARY_PATH") else []
    return {
        **os.environ,
        "LD_LIBRARY_PATH": os.pathsep.join([*map(str, libraries), *known]),
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONUNBUFFERED": "1",
    }


def serve(server: TritonServer) -> int:
    """Run the server until it ends by itself; where it or one of its steps was killed, start it again.

    This server does not start a step again that has died: its model then answers with errors for ever, and the server
    goes on saying that it is ready.

    Raises:
        ServerError: If the server ends too often.
    """
    restarts: list[float] = []
    while True:
        server.start()
        took = server.wait_until_ready()
        ports = server.ports
        print(f"ready after {took:.1f} s: grpc 127.0.0.1:{ports.grpc}, http 127.0.0.1:{ports.http}", flush=True)
        ended = _watch(server)
        if ended >= 0:
            return ended
        restarts = [at for at in restarts if time.monotonic() - at < _RESTARTS_WITHIN_S] + [time.monotonic()]
        if len(restarts) > _MOST_RESTARTS:
            raise ServerError(f"tritonserver or a step of it died {len(restarts)} times within {_RESTARTS_WITHIN_S} s.")
        print("tritonserver or a step of it was killed; starting again", flush=True)


def _watch(server: TritonServer) -> int:
    """Waits for the server's end; its exit status, or a negative number where it or a step was killed."""
    assert server.process is not None
    dead: set[int] = set()
    while (ended := server.process.poll()) is None:
        server.regions |= shared_regions(server.process.pid)
        time.sleep(_WATCH_S)
        found = _dead_children(server.process.pid)
        if dead & found:
            server.kill()
            return -1
        dead = found
    server.kill()
    return ended


def _dead_children(pid: int) -> set[int]:
    """Children that have ended and that nobody has asked about: an unloaded step's are asked about at once."""
    found: set[int] = set()
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text(encoding="ascii").split():
                state = (
                    Path(f"/proc/{child}/stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()[0]
                )
                if state == "Z":
                    found.add(int(child))
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve a model repository on 127.0.0.1 until interrupted."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    mark = given.index("--") if "--" in given else len(given)
    parser = argparse.ArgumentParser(description=main.__doc__, epilog="Arguments after -- are tritonserver's own.")
    parser.add_argument("repository", type=Path)
    for name, port in (("http", HTTP_PORT), ("grpc", GRPC_PORT), ("metrics", METRICS_PORT)):
        parser.add_argument(f"--{name}-port", type=int, default=port)
    parser.add_argument("--config-name", default="python", help="which of the models' configurations to read (python)")
    parser.add_argument("--control", default="none", choices=["none", "explicit"], help="explicit: clients load models")
    parser.add_argument("--load", nargs="*", default=[], metavar="MODEL", help="with explicit control: models to start")
    options = parser.parse_args(given[:mark])
    ports = Ports(http=options.http_port, grpc=options.grpc_port, metrics=options.metrics_port)
    server = TritonServer(options.repository, ports, options.config_name, options.control, options.load, given[mark + 1 :])
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # what ends this ends the server
    try:
        return serve(server)
    except KeyboardInterrupt:
        return 0
    except ClaprtError as error:
        print(f"claprt: {error}", file=sys.stderr)
        return 1
    finally:
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
