"""The exporter as a process of its own, so that torch never comes into this one."""

from __future__ import annotations

import codecs
import contextlib
import os
import re
import signal
import subprocess
import sys

from claprt.errors import BundleError

_PROGRAM = "claprt-export: "
_LEAVING_S = 10
"""Seconds that the exporter has to clear away what it has begun when this process is told to end."""


def exporter_command() -> list[str]:
    """What starts the exporter; its own folder, rather than this one's, is looked through for modules (`-P`)."""
    return [sys.executable, "-P", "-m", "claprt_export"]


def run_exporter(arguments: list[str], name: str, *, quiet: bool = False) -> None:
    """Run the exporter and show its progress on standard error; it ends when this process does.

    Args:
        arguments: Of `claprt-export`.
        name: Of what is exported, for messages.
        quiet: Shows no progress.

    Raises:
        BundleError: If the export failed; the message ends with the exporter's own.
    """
    command = [*exporter_command(), *arguments, "--end-with-stdin"]
    try:
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=_environment()
        )
    except OSError as error:
        raise BundleError(f"{name} cannot be exported: {command[0]} cannot be started: {error.strerror}.") from error
    try:
        said = _relayed(child, quiet=quiet)
        status = child.wait()
    except BaseException:
        _end(child)
        raise
    finally:
        for pipe in (child.stdin, child.stderr):
            if pipe is not None:
                pipe.close()
    if status != 0:
        raise BundleError(f"{name} cannot be exported: {_reason(said, status)}")


def _environment() -> dict[str, str]:
    environment = {**os.environ, "PYTHONIOENCODING": "utf-8:backslashreplace"}
    environment.pop("CLAP_CHECKPOINT_PATH", None)  # which the exporter would take instead of a published checkpoint
    if sys.stderr is not None and not sys.stderr.closed and sys.stderr.isatty():
        environment["TQDM_POSITION"] = "-1"  # huggingface_hub shows its bars on a terminal only, or where this is set
    return environment


def _relayed(child: subprocess.Popen[bytes], *, quiet: bool) -> str:
    """Pass on what the exporter says while it works, and return the end of it, with the error that it ends with."""
    assert child.stderr is not None
    said, pending = "", ""
    decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")
    while chunk := os.read(child.stderr.fileno(), 65_536):
        *lines, pending = re.split(r"(?<=[\r\n])", pending + decoder.decode(chunk))
        for line in lines:
            said = (said + line)[-20_000:]
            if sys.stderr is not None and not quiet and not _is_verdict(said):
                with contextlib.suppress(OSError, ValueError):  # closed, or nobody reads it
                    sys.stderr.write(line)
                    sys.stderr.flush()
    return said + pending


def _is_verdict(said: str) -> bool:
    """Whether the exporter has begun to say why it ends."""
    return said.startswith((_PROGRAM, "Traceback")) or f"\n{_PROGRAM}" in said or "\nTraceback" in said


def _reason(said: str, status: int) -> str:
    verdict = re.search(rf"(?:^|[\r\n]){_PROGRAM}(.*)", said, re.DOTALL)
    if verdict is not None:
        return " ".join(verdict[1].split("\n")).strip()
    if status < 0:
        known = {int(number): number.name for number in signal.Signals}
        memory = ", as it is where memory runs out" if status == -9 else ""
        return f"the exporter was ended by {known.get(-status, f'signal {-status}')}{memory}."
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "it did not say why")
    return f"the exporter ended with status {status}: {last}"


def _end(child: subprocess.Popen[bytes]) -> None:
    """Let the exporter clear away what it has begun, and end it if it does not."""
    child.terminate()
    try:
        child.communicate(timeout=_LEAVING_S)
    except (subprocess.TimeoutExpired, KeyboardInterrupt, OSError, ValueError):
        child.kill()
        child.wait()
