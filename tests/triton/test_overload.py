"""More requests than a server can answer: with a limit they are turned away at the door; given up, they cost nothing."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tritonclient import grpc

from claprt.bundle.folder import read_bundle
from claprt.triton.repository.builder import Build, build
from tests.triton.asking import Array, inputs_of, strings, wav
from tests.triton.server import Server, processor_s

LIMIT = 12
CROWD = 20
"""Requests beyond the limit."""
SILENCE = wav(np.zeros(600 * 8000, np.int16), 8000, "FLAC", "PCM_16")
LONG: dict[str, dict[str, Array]] = {
    "decode": {"audio": strings(SILENCE)},
    "tokenizer": {"text": strings(*["rain " * 4_000] * 40)},
}
"""What keeps every instance of a step busy for a while."""
SHORT: dict[str, dict[str, Array]] = {
    "decode": {"audio": strings(wav(np.ones(400), 8000))},
    "tokenizer": {"text": strings("rain")},
    "clap_audio_file": {"audio": strings(wav(np.ones(400), 8000))},
    "clap_classify": {"audio": strings(wav(np.ones(400), 8000)), "labels": strings("rain")},
    "clap_text": {"text": strings("rain")},
}
OUTPUTS = {
    "decode": "windows", "tokenizer": "token_ids", "clap_audio_file": "audio_embeddings", "clap_classify": "logits",
    "clap_text": "text_embeddings",
}  # fmt: skip
INSTANCES = {"decode": 2, "tokenizer": 1}


@pytest.fixture(scope="module")
def limited(bundle: Path, tmp_path_factory: pytest.TempPathFactory, needs_server: None) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("limited")
    repository = build(Build(bundle=read_bundle(bundle), queue=LIMIT), folder / "repository")
    with Server(repository, folder / "triton.log") as running:
        yield running


class Asking:
    """Requests that are on their way; what comes of them is collected."""

    def __init__(self, server: Server) -> None:
        self.client = grpc.InferenceServerClient(f"127.0.0.1:{server.ports.grpc}")
        self.errors: list[Any] = []
        self.sent = 0

    def send(self, model: str, given: dict[str, Array], count: int) -> list[Any]:
        tensors, wanted = inputs_of(grpc, given), [grpc.InferRequestedOutput(OUTPUTS[model])]
        self.sent += count
        return [
            self.client.async_infer(model, tensors, lambda result, error: self.errors.append(error), outputs=wanted)
            for _ in range(count)
        ]

    def refusals(self) -> list[str]:
        """What was said to those that got no answer, once all have got something."""
        until = time.monotonic() + 20
        while len(self.errors) < self.sent:
            assert time.monotonic() < until, f"{self.sent - len(self.errors)} requests were never answered"
            time.sleep(0.01)
        self.client.close()
        return [str(error) for error in self.errors if error is not None]


@pytest.mark.parametrize(
    ("model", "step"),
    [("decode", "decode"), ("clap_audio_file", "decode"), ("clap_classify", "decode"), ("clap_text", "tokenizer")],
)
def test_a_crowd_is_turned_away_at_the_door(limited: Server, model: str, step: str) -> None:
    """While a step is busy, as many requests wait as its queue holds; the others are rejected at once, and none is lost."""
    asking = Asking(limited)
    before = {pid: processor_s(pid) for pid in limited.steps(step)}
    assert len(before) == INSTANCES[step]
    asking.send(step, LONG[step], INSTANCES[step])
    limited.wait_until_busy(step, before)
    asking.send(model, SHORT[model], LIMIT + CROWD)
    refusals = asking.refusals()
    assert all("Exceeds maximum queue size" in sentence for sentence in refusals)
    assert CROWD / 2 < len(refusals) <= CROWD


def test_without_a_limit_everybody_is_answered(server: Server) -> None:
    asking = Asking(server)
    for model, given in SHORT.items():
        asking.send(model, given, 100)
    assert asking.refusals() == []
