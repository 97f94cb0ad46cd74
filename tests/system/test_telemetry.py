"""Nothing that runs here speaks to anybody, and libraries leave no files of theirs behind."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tests import no_network

pytestmark = pytest.mark.skipif(not no_network.AVAILABLE, reason="needs seccomp (Linux on x86-64 or arm64)")

_EMBED = """
import numpy as np, claprt
clap = claprt.load({bundle!r}, provider={provider!r})
clap.embed_audio(np.zeros(48_000, np.float32), sample_rate=48_000)
clap.embed_text("rain")
print("embedded")
"""
_SERVE = """
import builtins, os, signal
from claprt.cli import main

said = print

def print_and_stop(*words, **options):
    said(*words, **options)
    if words[0].startswith("serving"):
        os.kill(os.getpid(), signal.SIGTERM)

builtins.print = print_and_stop
sys.exit(main(["serve", "--bundle", {bundle!r}, "--port", "0"]))
"""
_PROGRAMS = {
    "socket": "import socket; socket.socket()",
    "datagram": "import socket; socket.socket(type=socket.SOCK_DGRAM)",
}


def _installed(name: str) -> bool:
    return importlib.util.find_spec(name) is not None


@pytest.mark.parametrize("listening", [False, True])
def test_the_kernel_ends_what_would_speak(tmp_path: Path, listening: bool) -> None:
    assert no_network.run(_PROGRAMS["datagram"], tmp_path, listening=listening).returncode != 0
    done = no_network.run(_PROGRAMS["socket"], tmp_path / "tmp", listening=listening)
    assert (done.returncode == 0) is listening


@pytest.mark.parametrize("provider", ["cpu", "openvino"])
@pytest.mark.seconds
def test_load_and_embed(bundle: Path, tmp_path: Path, provider: str) -> None:
    if provider == "openvino" and not _installed("openvino"):
        pytest.skip("needs OpenVINO: the openvino extra")
    done = no_network.run(_EMBED.format(bundle=str(bundle), provider=provider), tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "embedded\n", "")
    assert no_network.left_behind(tmp_path) == []


@pytest.mark.seconds
def test_the_same_with_telemetry_allowed_would_be_noticed(bundle: Path, tmp_path: Path) -> None:
    version = tuple(int(part) for part in metadata.version("onnxruntime").split(".")[:2])
    if version < (1, 29):
        pytest.skip("this onnxruntime has no telemetry on Linux")
    done = no_network.run(_EMBED.format(bundle=str(bundle), provider="cpu"), tmp_path, CLAPRT_TELEMETRY="on")
    assert done.returncode != 0 or no_network.left_behind(tmp_path)


@pytest.mark.seconds
def test_serve(bundle: Path, tmp_path: Path) -> None:
    if not _installed("starlette"):
        pytest.skip("needs the service's packages: the serve extra")
    done = no_network.run(_SERVE.format(bundle=str(bundle)), tmp_path, listening=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("serving tiny on ")
    assert no_network.left_behind(tmp_path) == []


@pytest.mark.seconds
def test_whoever_wants_telemetry_sets_a_variable() -> None:
    program = "import claprt, os, sys; print(os.environ.get('ORT_DISABLE_TELEMETRY'), 'openvino_telemetry' in sys.modules)"

    def said(**environment: str) -> str:
        return subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, check=True, env={"HOME": "/", **environment}
        ).stdout.strip()

    path = {"PYTHONPATH": ":".join(filter(None, sys.path))}
    assert said(**path) == "1 True"
    assert said(**path, CLAPRT_TELEMETRY="on") == "None False"
    assert said(**path, ORT_DISABLE_TELEMETRY="0") == "0 True"
