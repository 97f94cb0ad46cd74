"""kromosynth's own snippets, from features/clap/README.md and projection/qdhf/README.md, against our extractor and service.

As they are written there, but for what cannot be had: the import, the device where there is no GPU, the port, and in Node
the package of the name `websockets`, which npm does not have.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from claprt.compat.kromosynth import CLAPExtractor
from tests.serve.process import Process

EXTRACTOR = """
from features.clap.clap_extractor import CLAPExtractor
import numpy as np

# Initialize extractor
extractor = CLAPExtractor(device='cuda')  # or 'cpu'

# Generate or load audio (float32, mono)
audio = np.random.randn(16000).astype(np.float32)  # 1 second at 16kHz

# Extract embedding
embedding = extractor.extract_embedding(audio, sample_rate=16000)
print(embedding.shape)  # (512,)

# Batch extraction
audio_list = [audio1, audio2, audio3]
embeddings = extractor.extract_batch(audio_list, sample_rate=16000)
print(embeddings.shape)  # (3, 512)

# Compute similarity
similarity = extractor.compute_similarity(embedding1, embedding2)
print(f"Similarity: {similarity:.4f}")  # 0.0 to 1.0
"""

SOCKET_NODE = """
const WebSocket = require('websockets');

const ws = new WebSocket('ws://localhost:32051/clap');

// Send audio buffer (binary)
const audioBuffer = new Float32Array(16000);  // Your audio data
ws.send(audioBuffer.buffer);

// Or send JSON with metadata
ws.send(JSON.stringify({
    audio_buffer: Buffer.from(audioBuffer.buffer).toString('base64'),
    sample_rate: 16000
}));

// Receive embedding
ws.on('message', (data) => {
    const response = JSON.parse(data);
    console.log('Embedding:', response.embedding);  // Array of 512 floats
    console.log('Time:', response.extraction_time_ms, 'ms');
});
"""

SOCKET_THAT_WAITS = """
class WebSocket extends require('ws') {
    send(message) {
        if (this.readyState === 0) this.once('open', () => super.send(message)); else super.send(message);
    }
}
"""
"""The snippet sends before the connection is open, which npm's `ws` does not take."""

PROJECT_PYTHON = """
import asyncio
import websockets
import json
import numpy as np

async def project_embedding(embedding: np.ndarray):
    uri = "ws://localhost:32053/project"

    request = {
        'embedding': embedding.tolist()
    }

    async with websockets.connect(uri) as websocket:
        await websocket.send(json.dumps(request))
        response = await websocket.recv()
        data = json.loads(response)

    return np.array(data['behavior_descriptor'])

# Example usage
embedding = np.random.randn(512)  # CLAP embedding
bd = asyncio.run(project_embedding(embedding))
print(f"Behavior descriptor: {bd}")
"""

PROJECT_NODE = """
const WebSocket = require('ws');

async function projectEmbedding(embedding) {
    const ws = new WebSocket('ws://localhost:32053/project');

    return new Promise((resolve, reject) => {
        ws.on('open', () => {
            ws.send(JSON.stringify({embedding}));
        });

        ws.on('message', (data) => {
            const response = JSON.parse(data);
            ws.close();
            resolve(response.behavior_descriptor);
        });

        ws.on('error', reject);
    });
}

// Example usage
const embedding = Array(512).fill(0).map(() => Math.random());
const bd = await projectEmbedding(embedding);
console.log('Behavior descriptor:', bd);
"""


@pytest.fixture(scope="module")
def extractor() -> CLAPExtractor:
    return CLAPExtractor("mini", device="cpu")


def sine(frequency: float, seconds: float = 1.0, rate: int = 16_000) -> Any:
    """As scripts/test_clap_simple.py makes it."""
    t = np.linspace(0, seconds, int(rate * seconds))
    return np.sin(2 * np.pi * frequency * t).astype(np.float32)


def test_extractor(extractor: CLAPExtractor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setenv("CLAP_CHECKPOINT_PATH", "mini")
    given = {f"audio{number}": sine(220 * number) for number in (1, 2, 3)}
    vectors = {f"embedding{number}": extractor.extract_embedding(given[f"audio{number}"], 16_000) for number in (1, 2)}
    snippet = EXTRACTOR.replace("features.clap.clap_extractor", "claprt.compat.kromosynth").replace("'cuda'", "'cpu'", 1)
    exec(snippet, {**given, **vectors})
    first, second, similarity = capsys.readouterr().out.splitlines()
    assert (first, second) == ("(512,)", "(3, 512)")
    assert 0 <= float(similarity.removeprefix("Similarity: ")) <= 1


def test_the_steps_of_its_simple_test(extractor: CLAPExtractor) -> None:
    """scripts/test_clap_simple.py, with its own bounds."""
    assert extractor.target_sample_rate == 48_000
    embedding = extractor.extract_embedding(sine(440), sample_rate=16_000)
    assert embedding.shape == (512,)
    assert np.isfinite(embedding).all()
    assert np.abs(embedding - extractor.extract_embedding(sine(440), sample_rate=16_000)).max() < 1e-5
    other = extractor.extract_embedding(sine(880), sample_rate=16_000)
    similarity = extractor.compute_similarity(embedding, other)
    assert similarity < 1.0
    assert np.isclose(extractor.compute_distance(embedding, other), 1.0 - similarity)
    assert extractor.extract_batch([sine(220), sine(440), sine(880)], sample_rate=16_000).shape == (3, 512)
    assert np.isfinite(extractor.extract_embedding(np.zeros(16_000, np.float32), sample_rate=16_000)).all()
    faster = extractor.extract_embedding(sine(440, rate=44_100), sample_rate=44_100)
    assert extractor.compute_similarity(faster, embedding) > 0.8
    assert extractor.extract_embedding(sine(440, seconds=0.1), sample_rate=16_000).shape == (512,)


def run_node(folder: Path, script: str, last: str, times: int = 1) -> str:
    """What a script says until a line that begins so has come so often; some never end."""
    node = shutil.which("node")
    assert node is not None
    path = folder / "snippet.mjs"
    path.write_text(
        'import { createRequire } from "node:module";\nconst require = createRequire(import.meta.url);\n' + script, "utf-8"
    )
    said = ""
    with subprocess.Popen([node, str(path)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        guard = threading.Timer(30, process.kill)
        guard.start()
        assert process.stdout is not None
        for line in process.stdout:
            said += line
            times -= line.startswith(last)
            if not times:
                break
        guard.cancel()
        process.kill()
    assert not times, said
    return said


def test_socket_from_node(service: Process, node: Path) -> None:
    script = SOCKET_NODE.replace("const WebSocket = require('websockets');", SOCKET_THAT_WAITS)
    said = run_node(node, script.replace("32051", str(service.port)), "Time: ", 2)  # the original answers the first alone
    assert len(re.findall(r"^Time: [\d.]+ ms$", said, re.MULTILINE)) == 2, said
    assert said.count("Embedding: [") == 2
    assert "more items" in said


def test_projection_from_python(service: Process, capsys: pytest.CaptureFixture[str]) -> None:
    namespace: dict[str, Any] = {}
    exec(PROJECT_PYTHON.replace("32053", str(service.port)), namespace)
    assert namespace["bd"].shape == (6,)
    assert ((namespace["bd"] >= 0) & (namespace["bd"] <= 1)).all()
    assert capsys.readouterr().out.startswith("Behavior descriptor: [")


def test_projection_from_node(service: Process, node: Path) -> None:
    said = run_node(node, PROJECT_NODE.replace("32053", str(service.port)), "]")
    found = re.search(r"^Behavior descriptor: \[(.*?)\]", said, re.MULTILINE | re.DOTALL)
    assert found is not None, said
    values = [float(value) for value in found[1].split(",")]
    assert len(values) == 6
    assert all(0 <= value <= 1 for value in values)
