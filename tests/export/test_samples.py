"""The sample sounds in the package are those that the repository's code computes."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import claprt
from claprt.samples import SAMPLES
from claprt_export import samples


@pytest.mark.parametrize("name", samples.SAMPLES)
def test_shipped_samples_are_what_the_code_computes(name: str) -> None:
    shipped, rate = soundfile.read(claprt.sample_path(name), dtype="int16")
    computed = samples.pcm(samples.SAMPLES[name]())
    assert rate == samples.RATE
    assert shipped.shape == computed.shape
    # sines and transforms of another processor may differ in their last digit, and so round to the next step
    assert np.abs(shipped.astype(int) - computed).max() <= 1


def test_the_script_writes_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["samples", str(tmp_path)])
    samples.main()
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(f"{name}.flac" for name in samples.SAMPLES)
    assert sorted(samples.SAMPLES) == sorted(SAMPLES)
