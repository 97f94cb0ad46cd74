"""A few hundred requests that are wrong, at once, and what the service is like afterwards."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import numpy as np
from websockets.sync.client import connect

import claprt
from tests.serve.conftest import RATE
from tests.serve.malformed import MAKERS, ask_all, cases
from tests.serve.process import Process

COUNT, SEED, GROWTH_MB = 300, 7, 60


def test_every_one_is_refused_and_none_does_harm(strict: Process, mini: claprt.Clap, sound: Any) -> None:
    asyncio.run(ask_all(cases(COUNT, SEED + 1), strict.port))  # what is loaded and kept once
    before = strict.rss_mb()
    counts, faults = asyncio.run(ask_all(cases(COUNT, SEED), strict.port))
    assert not faults, "\n".join(faults[:10])
    assert counts.total() == COUNT
    assert len({kind for kind, _ in counts}) > len(MAKERS) * 0.8
    with connect(strict.url("/clap", "ws")) as socket:
        socket.send(sound.astype("<f4").tobytes())
        vector = np.asarray(json.loads(socket.recv())["embedding"], np.float32)
    assert np.abs(vector - mini.embed_audio(sound, RATE)).max() < 1e-6
    assert strict.rss_mb() < before + GROWTH_MB
    assert "Traceback" not in strict.said(), strict.said()


def test_cases_depend_on_their_number_alone() -> None:
    assert list(cases(50, 3)) == list(cases(80, 3))[:50]
    assert list(cases(50, 3)) != list(cases(50, 4))
