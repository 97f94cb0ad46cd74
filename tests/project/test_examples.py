"""The sound search runs, and its synthesiser makes sounds of anything."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import claprt
from claprt.errors import ClaprtError
from tests.projected import with_projection

SCRIPT = Path(__file__).parents[2] / "examples" / "pyribs_sound_search.py"
pytestmark = pytest.mark.skipif(not SCRIPT.is_file(), reason="needs the repository")


@pytest.fixture(scope="module")
def search() -> Any:
    spec = importlib.util.spec_from_file_location("pyribs_sound_search", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # its dataclasses ask for it
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("scale", [0.0, 1.0, 30.0])
def test_any_genome_is_a_sound(search: Any, scale: float) -> None:
    for seed in range(6):
        genome = scale * np.random.default_rng(seed).standard_normal(search.GENES)
        sound = search.synthesise(genome, 48_000)
        assert sound.shape == (48_000,)
        assert sound.dtype == np.float32
        assert np.isfinite(sound).all()
        assert 0 < np.abs(sound).max() <= 0.9 + 1e-6
        assert np.array_equal(sound, search.synthesise(genome, 48_000))


def test_without_pyribs_it_says_what_to_install(search: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(search, "_installed", lambda _: False)
    monkeypatch.setattr(sys, "argv", ["search", "--out", str(tmp_path / "found")])
    with pytest.raises(SystemExit, match=r"pip install 'claprt\[cpu,export,examples\]'"):
        search.main()
    assert not (tmp_path / "found").exists()


def test_it_refuses_what_cannot_be_searched(search: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(sys, "argv", ["search", "--out", str(tmp_path / "found"), "--evaluations", "0"])
    with pytest.raises(SystemExit, match="--evaluations and --cells must be 1 or more"):
        search.main()


def test_a_small_search(search: Any, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    for package in ("ribs", "matplotlib"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}: the examples extra")
    monkeypatch.setenv("NUMBA_DISABLE_JIT", "1")  # which pyribs uses, and compiles for seconds
    monkeypatch.setattr(search, "BATCH", 8)
    mapped, out = with_projection(bundle, tmp_path / "mapped"), tmp_path / "found"
    arguments = ["--bundle", mapped, "--evaluations", "12", "--train-on", "40", "--cells", "8", "--out", out]
    monkeypatch.setattr(sys, "argv", ["search", *map(str, arguments)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries' own
        search.main()
    assert "72 sounds heard" in capsys.readouterr().out  # 40 to begin with, two generations of 8, and as many at random
    assert (out / "archive.png").read_bytes().startswith(b"\x89PNG")
    best = sorted(out.glob("best-*.wav"))
    assert best
    sound, rate = soundfile.read(best[0])
    assert (rate, len(sound)) == (48_000, 48_000)


@pytest.mark.slow
def test_a_search_with_a_map_of_its_own(tmp_path: Path) -> None:
    """As a program, which trains the map too; `test_a_small_search` is the smaller one."""
    for package in ("ribs", "matplotlib", "torch"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}: the examples and export extras")
    out = tmp_path / "found"
    arguments = ["--evaluations", "70", "--train-on", "60", "--cells", "8", "--out", str(out), "--prompt", "a siren"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True, timeout=120, check=False,
        env={**os.environ, "NUMBA_DISABLE_JIT": "1"},  # which pyribs uses, and compiles for seconds
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "204 sounds heard" in done.stdout  # 60 to begin with, two generations of 36, and as many at random
    assert "CMA-MAE" in done.stdout
    assert (out / "archive.png").read_bytes().startswith(b"\x89PNG")
    best = sorted(out.glob("best-*.wav"))
    assert best
    sound, rate = soundfile.read(best[0])
    assert (rate, len(sound)) == (48_000, 48_000)


def test_a_map_is_not_replaced(search: Any, clap: claprt.Clap, tmp_path: Path) -> None:
    (tmp_path / search.MAPPED).mkdir()
    with pytest.raises(ClaprtError, match="exists: name it with --bundle, or choose another --out"):
        search.with_projection(clap, np.zeros((60, clap.dim), np.float32), tmp_path)
