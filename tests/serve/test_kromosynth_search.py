"""How kromosynth's search uses the service: bare hosts in its settings, endpoints and parameters appended for each sound.

It opens the bare host and closes it without a message, again and again until that works, before it begins; then it has one
connection for each sound, whose binary messages it expects as an `ArrayBuffer`.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect

import claprt
from tests.serve.conftest import RATE
from tests.serve.process import Process

SEARCH = """
import { createRequire } from "node:module";
import { readFileSync } from "node:fs";
const WebSocket = createRequire(import.meta.url)("ws");
const [host, file] = process.argv.slice(2);
const bytes = readFileSync(file);
const sound = new Float32Array(bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength));

const opens = (url) => new Promise((resolve) => {
  const socket = new WebSocket(url);
  socket.onopen = () => { socket.close(1000); resolve(true); };
  socket.onerror = () => resolve(false);
});
const features = (url) => new Promise((resolve, reject) => {
  const socket = new WebSocket(url);
  socket.binaryType = "arraybuffer";
  socket.on("open", () => socket.send(sound));
  socket.on("message", (message) => { socket.close(1000); resolve(JSON.parse(message).features); });
  socket.on("error", reject);
});

const found = [];
if (!(await opens(host))) throw new Error("the search would wait for ever");
for (const path of ["/clap?ckpt_dir=%2Fckpt&sample_rate=16000", "/clap?", "?sample_rate=16000&mfcc_focus=2", "/any/clap?"])
  found.push(await features(host + path));
console.log(JSON.stringify(found));
"""


def test_from_node(service: Process, mini: claprt.Clap, sound: Any, node: Path, tmp_path: Path) -> None:
    (node / "search.mjs").write_text(SEARCH, encoding="utf-8")
    (tmp_path / "sound.f32").write_bytes(sound.astype("<f4").tobytes())
    program = shutil.which("node")
    assert program is not None
    command = [program, str(node / "search.mjs"), service.url("", "ws"), str(tmp_path / "sound.f32")]
    ended = subprocess.run(command, check=False, capture_output=True, text=True, timeout=60)
    assert ended.returncode == 0, ended.stderr
    rows = np.asarray(json.loads(ended.stdout), np.float32)
    assert rows.shape == (4, 512)
    assert np.abs(rows - mini.embed_audio(sound, RATE)).max() < 1e-6


def test_from_python(service: Process, mini: claprt.Clap, sound: Any) -> None:
    host, data = service.url("", "ws"), sound.astype("<f4").tobytes()
    for _ in range(3):
        with connect(host):
            pass
    for endpoint, rate in (("/clap", 16_000), ("", 48_000), ("/features/clap", 22_050)):
        expected = mini.embed_audio(sound, rate)
        address = f"{host}{endpoint}?ckpt_dir=%2Fx%2Fckpt&sample_rate={rate}&unknown=1"
        for _ in range(2):
            with connect(address) as connection:
                connection.send(data)
                assert np.abs(np.asarray(json.loads(connection.recv())["features"]) - expected).max() < 1e-6
        with connect(address) as connection:
            for _ in range(3):
                connection.send(data)
            for _ in range(3):
                assert np.abs(np.asarray(json.loads(connection.recv())["embedding"]) - expected).max() < 1e-6
    metrics = httpx.get(service.url("/metrics")).text
    assert 'claprt_connections{endpoint="/clap"}' in metrics
    assert "features/clap" not in metrics


def test_pages_from_elsewhere(service: Process) -> None:
    """As a browser sends them: with an origin, or under a name that was made to point at this machine."""
    evil = {"origin": "https://evil.example"}
    assert httpx.post(service.url("/v1/embeddings"), content=b'{"input": "a"}', headers=evil).status_code == 403
    own = {"origin": service.url("")}
    assert httpx.post(service.url("/v1/embeddings"), content=b'{"input": "a"}', headers=own).status_code == 200
    for path in ("/", "/clap", "/project"):
        with pytest.raises(InvalidStatus) as refused, connect(service.url(path, "ws"), additional_headers=evil):
            pass
        assert refused.value.response.status_code == 403
        with connect(service.url(path, "ws"), additional_headers=own):
            pass
    rebound = {"host": f"rebound.example:{service.port}"}
    for path in ("/readyz", "/metrics", "/v1/models"):
        reply = httpx.get(service.url(path), headers=rebound)
        assert (reply.status_code, "not a name of this machine" in reply.text) == (403, True)
    assert httpx.get(service.url("/readyz"), headers={"host": f"localhost:{service.port}"}).status_code == 200
    assert httpx.get(service.url("/readyz"), headers={"host": "clap.example.org"}).status_code == 200  # from a proxy
