"""`POST /timeline`: the timeline that it has in process, limits, and what is refused."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

pytest.importorskip("starlette", reason="needs the service's packages (pip install 'claprt[serve]')")

from starlette.testclient import TestClient

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.serve.app import create_app
from claprt.serve.limits import Limits
from tests.serve.test_batcher import Tower

RATE = 16_000


@pytest.fixture(scope="module")
def client(clap: claprt.Clap) -> Iterator[TestClient]:
    limits = Limits(windows=2, timeline_windows=12, timeline_labels=3, characters=100)
    with TestClient(create_app(clap, limits=limits)) as client:
        yield client


@pytest.fixture(scope="module")
def street() -> bytes:
    """Twelve seconds in a WAV file."""
    file = io.BytesIO()
    sound = np.concatenate([SOUNDS[name](6 * RATE, RATE) for name in ("rain", "tone")])
    soundfile.write(file, sound, RATE, format="WAV", subtype="PCM_16")
    return file.getvalue()


def asked(client: TestClient, file: bytes, **fields: Any) -> Any:
    return client.post("/timeline", json={"audio": base64.b64encode(file).decode(), **fields})


def test_the_same_as_in_process(client: TestClient, clap: claprt.Clap, street: bytes) -> None:
    fields: dict[str, Any] = {"hop_s": 0.5, "on": 0.4, "off": 0.3, "merge_s": 1.0, "min_duration_s": 0.5}
    labels = ["rain", "a tone"]
    line = claprt.timeline(street, labels=labels, model=clap, **fields)
    in_json = asked(client, street, labels=labels, **fields).json()
    form = {name: str(value) for name, value in fields.items()}
    in_form = client.post("/timeline", data={"labels": "rain, a tone", **form}, files={"file": ("s.wav", street)}).json()
    for found in (in_json, in_form):
        assert set(found.pop("timings_ms")) == {"upload", "text", "read", "wait", "tower", "total"}
        expected = json.loads(json.dumps(line.to_dict()))
        assert np.allclose(found.pop("probabilities"), expected.pop("probabilities"), atol=1e-5)
        assert np.allclose(found.pop("similarities"), expected.pop("similarities"), atol=1e-6)
        assert [e["label"] for e in found["events"]] == [e["label"] for e in expected.pop("events")]
        found.pop("events")
        del found["source"], expected["source"]
        assert found == expected


def test_shares_with_a_background(client: TestClient, clap: claprt.Clap, street: bytes) -> None:
    options: dict[str, Any] = {"labels": ["rain"], "background": ["a tone", "x"], "scores": "classify", "window_s": 3}
    found = asked(client, street, **options).json()
    line = claprt.timeline(street, model=clap, **options)
    assert np.allclose(found["probabilities"], line.probabilities, atol=1e-5)
    assert found["window_s"] == 3


def test_a_sentence_has_the_length_that_it_has(client: TestClient, street: bytes) -> None:
    assert asked(client, street, labels=["x" * 60], template="of {}").status_code == 200


@pytest.mark.parametrize(
    ("fields", "status", "message"),
    [
        ({"labels": []}, 400, "labels is empty"),
        ({"labels": ["a", "b", "c", "d"]}, 400, "1 to 3 labels"),
        ({"labels": "a,b", "background": "c,d", "scores": "classify"}, 400, "1 to 3 labels"),
        ({"labels": ["a", "a"]}, 400, "more than once"),
        ({"labels": ["x" * 101]}, 400, "up to 100 characters"),
        ({"labels": ["a"], "template": "{}" * 101}, 400, "up to 100 characters"),
        ({"labels": ["a"], "hop_s": 0.1}, 400, "up to 12 windows here, and this one has more. Cut it, or widen hop_s"),
        ({"labels": ["a"], "hop_s": 11}, 400, "hop_s=11.0 is not possible"),
        ({"labels": ["a"], "on": 0.2, "off": 0.3}, 400, "off=0.3 is above on=0.2"),
        ({"labels": ["a"], "on": 2}, 422, "on"),
        ({"labels": ["a"], "hop": 1}, 400, "hop"),
        ({"labels": ["a"], "scores": "softmax"}, 422, "softmax"),
        ({}, 422, "labels"),
    ],
)
def test_what_is_refused(client: TestClient, street: bytes, fields: dict[str, Any], status: int, message: str) -> None:
    reply = asked(client, street, **fields)
    assert (reply.status_code, message in reply.json()["error"]["message"]) == (status, True), reply.text


def test_too_many_windows_are_refused_before_one_is_run(bundle: Path, street: bytes) -> None:
    """With levels for which a sound is not read to its end before its first window is complete."""
    clap = claprt.load(bundle, preprocess="laion")
    tower = Tower(clap)
    with TestClient(create_app(clap, limits=Limits(timeline_windows=11))) as client:
        run = tower.asked
        reply = asked(client, street, labels=["a"], hop_s=0.1)
        assert (reply.status_code, "up to 11 windows" in reply.text, tower.asked) == (400, True, run), reply.text
        line = asked(client, street, labels=["a"], hop_s=0.2).json()
    assert len(line["starts_s"]) == 11
    assert tower.asked > run


def test_bad_sounds(client: TestClient, street: bytes) -> None:
    assert asked(client, b"no sound", labels=["a"]).status_code == 400
    long = io.BytesIO()
    soundfile.write(long, np.zeros(21 * RATE, np.int16), RATE, format="WAV")
    assert "20 s were left" in asked(client, long.getvalue(), labels=["a"]).json()["error"]["message"]


def test_the_document_names_it(client: TestClient) -> None:
    operation = client.get("/openapi.json").json()["paths"]["/timeline"]["post"]
    assert set(operation["requestBody"]["content"]) == {"application/json", "multipart/form-data"}
