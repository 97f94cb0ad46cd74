"""The clients in examples/, as a person would run them."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import claprt
from tests.serve.conftest import RATE
from tests.serve.process import Process

EXAMPLES = Path(__file__).parents[2] / "examples"


def said(command: list[str]) -> str:
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


def check(text: str, expected: Any) -> None:
    """Dimensions, one vector for every way to send, and the first numbers."""
    assert re.search(r"^binary: 512 numbers in [\d.]+ ms$", text, re.MULTILINE), text
    assert re.search(r"^JSON: 512 numbers in [\d.]+ ms$", text, re.MULTILINE), text
    assert float(re.findall(r"^largest difference: (\S+)$", text, re.MULTILINE)[0]) < 1e-6
    first = re.findall(r"^first numbers: \[(.*)\]$", text, re.MULTILINE)[0]
    assert np.abs(np.array(first.split(","), np.float32) - expected[:4]).max() < 1e-6


def test_python(service: Process, mini: claprt.Clap, sound: Any, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "rain.wav", sound, RATE, subtype="FLOAT")
    command = [sys.executable, str(EXAMPLES / "websocket_client.py"), str(tmp_path / "rain.wav")]
    text = said([*command, "--url", service.url("/clap", "ws")])
    check(text, mini.embed_audio(sound, RATE))
    assert "20 messages, one after the other" in text


def test_node(service: Process, mini: claprt.Clap, sound: Any, node: Path, tmp_path: Path) -> None:
    client = shutil.copy(EXAMPLES / "node_client.mjs", node)  # beside `node_modules`
    (tmp_path / "rain.f32").write_bytes(sound.astype("<f4").tobytes())
    program = shutil.which("node")
    assert program is not None
    text = said([program, str(client), str(tmp_path / "rain.f32"), service.url("/clap", "ws"), str(RATE)])
    check(text, mini.embed_audio(sound, RATE))
    assert "20 messages, one after the other, vectors: 20 numbers" in text


def test_python_is_told_what_is_wrong(service: Process, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "nothing.wav", np.zeros((0, 1), np.float32), RATE)
    command = [sys.executable, str(EXAMPLES / "websocket_client.py"), str(tmp_path / "nothing.wav")]
    ended = subprocess.run([*command, "--url", service.url("/clap", "ws")], check=False, capture_output=True, text=True)
    assert ended.returncode == 1
    assert "ValueError" in ended.stderr


@pytest.mark.parametrize("name", ["node_client.mjs", "websocket_client.py"])
def test_the_default_address_is_the_default_port(name: str) -> None:
    assert "ws://localhost:32051/clap" in (EXAMPLES / name).read_text(encoding="utf-8")
