"""An hour of sound in bounded memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

_PROGRAM = """
import pathlib, re, sys
import claprt

def kilobytes(key):
    return int(re.search(rf"{key}:\\s+(\\d+) kB", pathlib.Path("/proc/self/status").read_text())[1])

clap = claprt.load(sys.argv[1], long=sys.argv[3] or None)
clap.embed_audio([sys.argv[4]] * clap.batch_size)
pathlib.Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten
before = kilobytes("VmRSS")
sound = next(clap.iter_audio([sys.argv[2]]))
if sound.error is not None:
    raise sound.error
print(len(sound.windows), kilobytes("VmHWM") - before)
"""


@pytest.fixture(scope="module")
def hour(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An hour of 44.1 kHz stereo, written minute by minute."""
    path = tmp_path_factory.mktemp("hour") / "hour.flac"
    random = np.random.default_rng(0)
    with soundfile.SoundFile(path, "w", 44_100, 2, "PCM_16") as file:
        for _ in range(60):
            file.write(random.normal(0, 0.1, (44_100 * 60, 2)).astype(np.float32))
    return path


@pytest.mark.skipif(sys.platform != "linux", reason="reads peak memory from /proc")
@pytest.mark.parametrize(("fused", "mode"), [(False, "windows"), (False, "center"), (True, "fusion")])
def test_an_hour(exports: Any, record: Any, hour: Path, tmp_path: Path, fused: bool, mode: str) -> None:
    made = exports.of_laion("HTSAT-tiny", fused=fused)
    short = tmp_path / "short.wav"
    soundfile.write(short, np.zeros(44_100, np.float32), 44_100)
    command = [sys.executable, "-c", _PROGRAM, str(made.bundle), str(hour), mode, str(short)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    windows, kilobytes = map(int, done.stdout.split())
    assert windows == (360 if mode == "windows" else 1)
    record(
        f"peak memory above the loaded model, one hour, {mode}",
        "< 1 GiB",
        f"{kilobytes / 1024:.0f} MiB ({windows} windows)",
    )
    assert kilobytes < 1024**2
