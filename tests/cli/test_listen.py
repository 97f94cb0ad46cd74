"""`claprt listen`, from standard input and a microphone that is none."""

from __future__ import annotations

import io
import json
import os
import signal
import struct
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import soundfile

import claprt
from claprt.audio.pipe import open_pipe
from claprt.audio.synthetic import SOUNDS
from claprt.cli import main
from claprt.errors import AudioDecodeError
from tests.terminal import on_a_terminal

RATE = 16_000
OPTIONS = ["--labels", "rain", "a tone", "--window", "2", "--hop", "1", "--on", "0.4", "-q"]


@pytest.fixture(autouse=True)
def named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAPRT_BUNDLE", str(bundle))


@pytest.fixture(scope="module")
def sound() -> Any:
    return (np.concatenate([SOUNDS[name](3 * RATE, RATE) for name in ("rain", "tone")]) * 30_000).astype("<i2")


def piped(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    stdin = SimpleNamespace(buffer=io.BytesIO(data), closed=False, isatty=lambda: False)
    monkeypatch.setattr(sys, "stdin", stdin)


def wav(sound: Any, subtype: str = "PCM_16", channels: int = 1) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, np.stack([sound / 32768] * channels, axis=1), RATE, format="WAV", subtype=subtype)
    return file.getvalue()


def told(text: str) -> tuple[list[Any], list[Any]]:
    rows = [json.loads(line) for line in text.splitlines()]
    return [row["window"] for row in rows if "window" in row], [row["event"] for row in rows if "event" in row]


@pytest.mark.parametrize("form", ["raw", "wav", "wav without an end"])
def test_json_of_standard_input(
    form: str, sound: Any, clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    data = sound.tobytes() if form == "raw" else wav(sound)
    if form == "wav without an end":  # as FFmpeg writes into a pipe
        at = data.index(b"data") + 4
        data = data[:4] + b"\xff" * 4 + data[8:at] + b"\xff" * 4 + data[at + 4 :]
    piped(monkeypatch, data)
    rate = ["--rate", str(RATE)] if form == "raw" else []
    assert main(["listen", "-", *rate, *OPTIONS, "--json"]) == 0
    windows, events = told(capsys.readouterr().out)
    line = claprt.timeline(sound, labels=["rain", "a tone"], window_s=2, hop_s=1, on=0.4, model=clap, sample_rate=RATE)
    assert np.allclose([list(window["probabilities"].values()) for window in windows], line.probabilities, atol=1e-6)
    assert sorted(event["label"] for event in events) == sorted(event.label for event in line.events)


def test_lines(sound: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    piped(monkeypatch, wav(sound))
    assert main(["listen", "-", *OPTIONS[:-3], "--on", "0", "--seconds", "3", "-q"]) == 0
    first, second, *events = capsys.readouterr().out.splitlines()
    assert first.startswith("     2.0 s  ")
    assert second.startswith("     3.0 s  ")
    assert [event.split("  ")[0].strip() for event in events] == [""] * 2
    assert all("0.0 – 3.0 s" in event for event in events)


@pytest.mark.parametrize(("subtype", "channels"), [("PCM_16", 2), ("PCM_32", 1), ("FLOAT", 3), ("DOUBLE", 1)])
def test_wav_in_a_pipe(sound: Any, subtype: str, channels: int) -> None:
    pipe = open_pipe(io.BytesIO(wav(sound, subtype, channels)), None)
    blocks = np.concatenate(list(pipe.blocks))
    assert (pipe.rate, blocks.shape) == (RATE, (len(sound), channels))
    scale = 1 if blocks.dtype.kind == "f" else 2.0 ** (8 * blocks.dtype.itemsize - 1)
    assert np.allclose(blocks[:, -1] / scale, sound / 32768, atol=1e-4)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"RIFF\0\0\0\0WAVEfmt ", "ends within its header"),
        (b"RIFF\0\0\0\0WAVEdata\0\0\0\0", "samples before it says what they are"),
        (b"RIFF\0\0\0\0WAVEfmt " + struct.pack("<IHHIIHH", 16, 6, 1, 8000, 8000, 1, 8), "codec 6 with 8 bits"),
        (b"RIFF\0\0\0\0WAVEjunk\xff\xff\xff\x7f", "no samples within its first megabyte"),
    ],
)
def test_damaged_wav(data: bytes, message: str) -> None:
    with pytest.raises(AudioDecodeError, match=message):
        open_pipe(io.BytesIO(data), None)


def test_a_pipe_that_ends_within_a_frame() -> None:
    with pytest.raises(AudioDecodeError, match="2 of 4 bytes are there"):
        list(open_pipe(io.BytesIO(bytes(14)), 8000, "f32le").blocks)


def test_wrong_usage(sound: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for arguments, data, message in (
        (["-"], sound.tobytes(), "name it with --rate"),
        (["-", "--rate", "8000"], wav(sound), "states 16000 Hz, and 8000 Hz were named"),
        (["-", "--rate", "8000", "--channels", "17"], sound.tobytes(), "--channels 17"),
        (["-", "--rate", "8000", "--seconds", "0"], sound.tobytes(), "--seconds 0"),
        (["-", "--rate", "8000", "--seconds", "inf"], sound.tobytes(), "--seconds inf"),
        (["a.wav"], b"", "for a file: claprt timeline a.wav"),
    ):
        piped(monkeypatch, data)
        assert main(["listen", *arguments, *OPTIONS]) == 1
        assert message in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["listen", "-"])


class FakeDevices:
    """What `claprt listen` uses of sounddevice."""

    class PortAudioError(Exception):
        pass

    def __init__(self, sound: Any) -> None:
        self.sound, self.asked, self.closed = sound, dict[str, Any](), False

    def query_devices(self, device: Any, kind: str) -> dict[str, Any]:
        if device == "absent":
            raise ValueError("No input device matching 'absent'")
        return {"name": "a microphone", "default_samplerate": float(RATE)}

    def InputStream(self, **options: Any) -> Any:  # noqa: N802 - sounddevice's name
        self.asked = options
        return SimpleNamespace(start=self.start, close=self.close, active=False)

    def start(self) -> None:
        size = self.asked["blocksize"]
        buffer = np.empty((size, 1), np.float32)
        for begin in range(0, len(self.sound) - size, size):
            buffer[:, 0] = self.sound[begin : begin + size] / 32768  # one buffer, used again
            self.asked["callback"](buffer, size, None, None)

    def close(self) -> None:
        self.closed = True


def test_a_microphone(sound: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    devices = FakeDevices(sound)
    monkeypatch.setitem(sys.modules, "sounddevice", devices)
    assert main(["listen", *OPTIONS, "--json", "--seconds", "4"]) == 0
    windows, _ = told(capsys.readouterr().out)
    assert [window["start_s"] for window in windows] == [0, 1, 2]
    assert devices.closed
    assert (devices.asked["samplerate"], devices.asked["channels"]) == (RATE, 1)
    assert main(["listen", *OPTIONS]) == 1
    assert "stopped recording" in capsys.readouterr().err
    assert main(["listen", *OPTIONS, "--device", "absent"]) == 1
    assert "The microphone cannot be opened: No input device" in capsys.readouterr().err
    devices.sound = np.zeros(31 * RATE, np.int16)
    assert main(["listen", *OPTIONS]) == 1
    assert "half a minute of it waits" in capsys.readouterr().err

    def refused() -> None:
        raise FakeDevices.PortAudioError("Device unavailable")

    monkeypatch.setattr(devices, "start", refused)
    assert main(["listen", *OPTIONS]) == 1
    assert "The microphone cannot be used: Device unavailable" in capsys.readouterr().err


def test_without_sounddevice(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    assert main(["listen", *OPTIONS]) == 1
    assert "A microphone needs sounddevice: pip install" in capsys.readouterr().err


@pytest.mark.skipif(os.name == "nt", reason="needs signals of POSIX")
def test_an_interrupt_ends_it(sound: Any, bundle: Path) -> None:
    command = [sys.executable, "-m", "claprt", "listen", "-", "--rate", str(RATE), *OPTIONS[:-3], "--on", "0", "--json"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        env={**os.environ, "CLAPRT_BUNDLE": str(bundle)},
    ) as process:  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(sound.tobytes())
        process.stdin.flush()
        first = process.stdout.readline()
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        rest, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    windows, events = told((first + rest).decode())
    assert windows
    assert [event["label"] for event in events] == ["rain", "a tone"]
    assert b"Traceback" not in errors


def test_a_chart_on_a_terminal(sound: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", FakeDevices(sound))
    status, shown = on_a_terminal(["listen", *OPTIONS[:-3], "--on", "0", "--seconds", "4", "-q"])
    assert status == 0, shown
    assert shown.count("\x1b[3A\x1b[J") >= 2  # the chart of three lines is drawn over
    assert "* rain " in shown
    assert "0.0 – 4.0 s  a tone" in shown
