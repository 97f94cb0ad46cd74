"""The sample sounds in the package are those that the repository's code computes."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import claprt
from claprt.samples import SAMPLES
from claprt_export.synthesis import samples


@pytest.mark.parametrize("name", samples.SAMPLES)
def test_shipped_samples_are_what_the_code_computes(name: str) -> None:
    shipped, rate = soundfile.read(claprt.sample_path(name), dtype="int16")
    computed = samples.pcm(samples.SAMPLES[name]())
    assert rate == samples.RATE
    assert shipped.shape == computed.shape
    # sines and transforms of another processor may differ in their last digit, and so round to the next step
    assert np.abs(shipped.astype(int) - computed).max() <= 1


EXAMPLE = Path(__file__).parents[2] / "examples" / "demo.py"


@pytest.mark.skipif(not EXAMPLE.is_file(), reason="needs the repository")
def test_the_example_runs() -> None:
    command = [sys.executable, str(EXAMPLE), "--bundle", "mini", claprt.sample_path("dog")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert re.search(r"dog\.flac\na dog barking +100\.0%", done.stdout)


def test_the_script_writes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["samples", str(tmp_path)])
    samples.main()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{name}.flac" for name in samples.SAMPLES)
    assert sorted(samples.SAMPLES) == sorted(SAMPLES)
