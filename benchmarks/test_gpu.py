"""What `benchmarks/gpu.py` makes of engines that are wrong, or fail; the engines themselves are not run here."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs torch: the export extra")

from benchmarks import gpu
from claprt.bundle.folder import read_bundle
from tests.tiny import write_tiny_bundle

EXPECTED: Any = np.eye(4, 512)
CASE = gpu.Case("batch 4", np.zeros((4, 1, 2, 2), np.float32), EXPECTED)


def measured(path: Path) -> gpu.Measured:
    found = gpu.Measured(path, {"device": "a test"})
    found.row("tiny", "claprt cuda fp32")["limit"] = gpu.LIMITS["fp32"]
    return found


def test_every_row_counts(tmp_path: Path) -> None:
    """The last of a batch is as wrong as the first, and a vector that is no number is wrong as well."""
    path = tmp_path / "made" / "gpu.json"
    found = measured(path)
    assert gpu.compared("tiny", "claprt cuda fp32", lambda _: EXPECTED, CASE, found)
    assert found.broken() == []
    off = EXPECTED.copy()
    off[3, 7] = 0.01
    assert gpu.compared("tiny", "claprt cuda fp32", lambda _: off, CASE, found)
    (said,) = found.broken()
    assert said.startswith("tiny: claprt cuda fp32: cosine 0.99995")
    assert json.loads(path.read_text())["sizes"]["tiny"]["claprt cuda fp32"]["cosine"] < 0.999999
    other = measured(path)
    gpu.compared("tiny", "claprt cuda fp32", lambda _: np.full_like(EXPECTED, np.nan), CASE, other)
    assert len(other.broken()) == 1


def test_an_engine_that_fails_does_not_end_the_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "gpu.json"
    found = measured(path)
    calls = 0

    def tiring(_: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls > gpu.WARM_UPS + 1:
            raise MemoryError("CUDA out of memory")
        return EXPECTED

    engines: dict[str, gpu.Call] = {"claprt cuda fp32": tiring, "torch eager fp32": lambda _: EXPECTED}
    for engine, call in engines.items():
        assert gpu.compared("tiny", engine, call, CASE, found)
    gpu.timed("tiny", engines, CASE, 3, found)
    rows = json.loads(path.read_text())["sizes"]["tiny"]
    assert rows["claprt cuda fp32"]["errors"] == ["batch 4, timed: MemoryError: CUDA out of memory"]
    assert rows["claprt cuda fp32"]["cases"] == {}
    assert set(rows["torch eager fp32"]["cases"]) == {"batch 4"}
    assert not gpu.compared("tiny", "claprt cuda fp32", tiring, CASE, found)
    assert found.ours() == 0
    assert "out of memory" in capsys.readouterr().err


def test_engines_are_built_for_the_card(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Once; a card that TensorRT-RTX does not know is named, and the run goes on."""
    pytest.importorskip("tensorrt_rtx", reason="needs TensorRT-RTX: the tensorrt-rtx extra")
    copy = write_tiny_bundle(tmp_path / "copy")
    monkeypatch.setattr(gpu, "nvidia_cards", lambda: ("sm90", "sm86"))
    gpu.add_engines(copy)
    assert "no engines of TensorRT-RTX: Engines for sm90 were asked for" in capsys.readouterr().err
    monkeypatch.setattr(gpu, "nvidia_cards", lambda: ("sm86",))
    gpu.add_engines(copy)
    engines = read_bundle(copy).manifest.engines
    assert {engine.cards for engine in engines} == {("sm86",)}
    monkeypatch.setattr(gpu, "put_engines", lambda *_, **__: pytest.fail("built again"))
    gpu.add_engines(copy)
