"""A path, bytes, a file object, a pipe and an upload: the same samples, or the same sentence."""

# ruff: noqa: SIM115 - what is open is the subject
from __future__ import annotations

import bz2
import gc
import gzip
import io
import lzma
import os
import socket
import subprocess
import sys
import tempfile
import threading
import warnings
import zipfile
from collections.abc import Callable, Generator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any, cast

import fsspec
import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from claprt.audio.sound import open_sound
from claprt.errors import AudioDecodeError, AudioError, AudioNotFoundError, AudioTypeError, EmptyAudioError

NOISE = np.random.default_rng(0).normal(0, 0.1, 60_000).astype(np.float32)


def encoded(form: str) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, NOISE, 44_100, format=form)
    return file.getvalue()


SOUNDS = {form: encoded(form) for form in ("WAV", "FLAC", "OGG", "MP3", "AIFF")}


def samples(source: Any) -> NDArray[Any]:
    return np.concatenate(list(open_sound(source, None, 48_000).blocks))


def sentence(source: Any, name: str) -> str:
    with pytest.raises(AudioError) as caught:
        samples(source)
    assert name in str(caught.value)
    return str(caught.value).replace(name, "IT")


@pytest.mark.parametrize("form", SOUNDS)
def test_every_kind_of_source(tmp_path: Path, form: str) -> None:
    content = SOUNDS[form]
    path = tmp_path / "sound.of unknown kind"
    path.write_bytes(content)
    spooled = tempfile.SpooledTemporaryFile(max_size=1 << 10)
    spooled.write(content)
    memory = fsspec.filesystem("memory")
    memory.pipe("/sound", content)
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("sound", content)
    expected = samples(content)
    assert abs(expected.size - NOISE.size) < 2_000
    with (
        path.open("rb") as buffered,
        path.open("rb", buffering=0) as raw,
        memory.open("/sound") as remote,
        zipfile.ZipFile(tmp_path / "a.zip") as archive,
        archive.open("sound") as member,
        spooled,
    ):
        for source in (
            path, str(path), bytearray(content), memoryview(content), memoryview(content + content)[: len(content)],
            memoryview(b"".join(bytes([byte, 0]) for byte in content))[::2], io.BytesIO(content), buffered, raw, remote,
            member, spooled, gzip.open(io.BytesIO(gzip.compress(content))), bz2.open(io.BytesIO(bz2.compress(content))),
            lzma.open(io.BytesIO(lzma.compress(content))),
        ):  # fmt: skip
            assert np.array_equal(samples(source), expected), source


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize("form", SOUNDS)
def test_a_named_pipe_is_opened_once(tmp_path: Path, form: str) -> None:
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(SOUNDS[form],))
    writer.start()
    assert np.array_equal(samples(path), samples(SOUNDS[form]))
    writer.join(10)
    assert not writer.is_alive()


PROGRAM = """
import sys
from claprt.audio.sound import open_sound

print(sum(len(block) for block in open_sound(sys.stdin.buffer, None, 48_000).blocks))
"""


@contextmanager
def standard_input(descriptor: int) -> Generator[None]:
    """The standard input of this process leads to a descriptor."""
    kept = os.dup(0)
    try:
        os.dup2(descriptor, 0)
        yield
    finally:
        os.dup2(kept, 0)
        os.close(kept)


@pytest.mark.skipif(not Path("/dev/stdin").exists(), reason="a path of Linux and macOS")
@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("kind", ["pipe", "file", "socket"])
def test_standard_input(tmp_path: Path, named: bool, kind: str) -> None:
    content = SOUNDS["FLAC"]

    def write(file: IO[bytes]) -> None:
        with file:
            file.write(content)

    with ExitStack() as stack:
        if kind == "file":
            path = tmp_path / "sound"
            path.write_bytes(content)
            reading = stack.enter_context(path.open("rb")).fileno()
        else:
            if kind == "pipe":
                reading, writing = os.pipe()
            else:
                reading, writing = (end.detach() for end in socket.socketpair())
            stack.callback(os.close, reading)
            writer = threading.Thread(target=write, args=(os.fdopen(writing, "wb"),))
            writer.start()
            stack.callback(writer.join)
        stack.enter_context(standard_input(reading))
        source = "/dev/stdin" if named else stack.enter_context(open(0, "rb", closefd=False))
        assert samples(source).size == NOISE.size


@pytest.mark.seconds
def test_standard_input_of_a_process() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], input=SOUNDS["FLAC"], capture_output=True, check=True)
    assert int(done.stdout) == NOISE.size


@pytest.mark.skipif(not Path("/dev/fd").exists(), reason="a path of Linux and macOS")
def test_process_substitution() -> None:
    reading, writing = os.pipe()

    def write() -> None:
        with os.fdopen(writing, "wb") as file:
            file.write(SOUNDS["MP3"])

    writer = threading.Thread(target=write)
    with os.fdopen(reading, "rb"):
        writer.start()
        assert np.array_equal(samples(f"/dev/fd/{reading}"), samples(SOUNDS["MP3"]))
    writer.join(10)


class Once(io.RawIOBase):
    """A connection: read once, a little at a time, and never rewound."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.largest = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part = self._content[: min(len(buffer), 1_000)]
        self.largest = max(self.largest, len(buffer))
        self._content = self._content[len(part) :]
        buffer[: len(part)] = part
        return len(part)


def test_connections_are_read_once_and_in_pieces() -> None:
    for form, content in SOUNDS.items():
        connection = Once(content)
        assert np.array_equal(samples(connection), samples(content)), form
        assert connection.largest <= 1 << 20


def test_of_what_is_no_sound_the_beginning_is_read() -> None:
    class Endless(Once):
        def readinto(self, buffer: Any) -> int:
            self._content = b"<html>" + b" " * 10_000
            return super().readinto(buffer)

    with pytest.raises(AudioDecodeError, match="an HTML page"):
        samples(Endless(b""))


def test_file_objects_are_read_from_their_beginning(tmp_path: Path) -> None:
    """Also the buffer that was just written, and the file that was read before."""
    buffer = io.BytesIO()
    soundfile.write(buffer, NOISE, 44_100, format="WAV", subtype="FLOAT")
    assert buffer.tell() > NOISE.nbytes
    assert np.array_equal(samples(buffer), NOISE)
    assert np.array_equal(samples(buffer), NOISE)
    path = tmp_path / "sound.wav"
    path.write_bytes(buffer.getvalue())
    with path.open("rb") as file:
        assert np.array_equal(samples(file), NOISE)
        assert np.array_equal(samples(file), NOISE)
        assert not file.closed


EMPTY: dict[str, Callable[[Path], Any]] = {
    "path": lambda path: path,
    "bytes": lambda _: b"",
    "bytearray": lambda _: bytearray(),
    "memoryview": lambda _: memoryview(b""),
    "BytesIO": lambda _: io.BytesIO(),
    "open file": lambda path: path.open("rb"),
    "connection": lambda _: Once(b""),
    "gzip": lambda _: gzip.open(io.BytesIO(gzip.compress(b""))),
    "spooled": lambda _: tempfile.SpooledTemporaryFile(),
}


@pytest.mark.parametrize("kind", EMPTY)
def test_nothing_is_called_empty(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "empty.wav"
    path.touch()
    source = EMPTY[kind](path)
    with pytest.raises(EmptyAudioError, match="is empty: it holds no bytes"):
        samples(source)
    if hasattr(source, "close"):
        source.close()


NO_FILES = {
    "/dev/null": "is a device or a terminal",
    "/dev/zero": "is a device or a terminal",
    "/dev": "is a folder",
}


@pytest.mark.skipif(not Path("/dev/zero").exists(), reason="needs /dev")
@pytest.mark.parametrize("path", NO_FILES)
def test_devices_and_folders(path: str) -> None:
    for source in (path, Path(path)):
        with pytest.raises(AudioDecodeError, match=NO_FILES[path]):
            samples(source)


def test_what_cannot_be_read_yet() -> None:
    class Waiting(Once):
        def readinto(self, buffer: Any) -> Any:
            return None

    with pytest.raises(AudioDecodeError, match="open it in blocking mode"):
        samples(Waiting(b""))


def test_what_is_read_later() -> None:
    class Later:
        def read(self, size: int = -1) -> Any:
            return self._read(size)

        async def _read(self, size: int) -> bytes:
            return SOUNDS["WAV"][:size]

    with pytest.raises(AudioTypeError, match=r"await file\.read\(\)"):
        samples(Later())


# what is not a sound, under any name and in any form

WRONG = {
    "text": b"This is a letter, and not a sound.\n" * 50,
    "HTML": b"<!DOCTYPE html>\n<html><body>404</body></html>\n" * 40,
    "git-lfs": b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
    "gzip": gzip.compress(SOUNDS["WAV"], 1),
    "PNG": b"\x89PNG\r\n\x1a\n" + bytes(3_000),
    "samples": (NOISE * 32767).astype("<i2").tobytes(),
    "zeros": bytes(9_000),
    "noise": np.random.default_rng(3).bytes(9_000),
    "half a header": b"RIFF\x10\0",
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("suffix", [".vox", ".au", ".snd", ".gsm", ".mp3", ".wav", ".raw", ""])
def test_the_name_decides_nothing(tmp_path: Path, kind: str, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(WRONG[kind])
    by_path = sentence(path, str(path))
    assert by_path == sentence(WRONG[kind], f"bytes[{len(WRONG[kind])}]")
    assert by_path == sentence(io.BytesIO(WRONG[kind]), "BytesIO")
    assert by_path == sentence(Once(WRONG[kind]), "Once")


def test_raw_samples_are_named() -> None:
    with pytest.raises(AudioDecodeError, match=r"embed_audio\(numpy\.frombuffer\(data, 'int16'\), sample_rate\)"):
        samples(WRONG["samples"])


def test_a_file_is_closed_by_whoever_opened_it(tmp_path: Path) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.exists():
        pytest.skip("Linux only")
    path = tmp_path / "sound"
    before = len(list(descriptors.iterdir()))
    for content in (*SOUNDS.values(), *WRONG.values()):
        path.write_bytes(content)
        for _ in range(3):
            try:
                sound = open_sound(path, None, 48_000)
                next(iter(sound.blocks))
                sound.blocks.close()  # type: ignore[attr-defined]
            except AudioError:
                pass
    assert len(list(descriptors.iterdir())) == before


def test_a_file_that_is_opened_and_never_read(tmp_path: Path) -> None:
    """Its descriptor is closed, without a ResourceWarning."""
    path = tmp_path / "sound"
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for content in SOUNDS.values():
            path.write_bytes(content)
            open_sound(path, None, 48_000)
            open_sound(cast("Any", Once(content)), None, 48_000)
        gc.collect()
    assert [str(warning.message) for warning in caught] == []


def test_bytes_are_not_copied() -> None:
    import tracemalloc

    large = SOUNDS["WAV"][:40] + (100_000_000).to_bytes(4, "little") + bytes(100_000_000)
    sources = (large, bytearray(large), memoryview(large))
    tracemalloc.start()
    for source in sources:
        sound = open_sound(source, None, 48_000)
        next(iter(sound.blocks))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


@pytest.mark.parametrize(
    ("given", "advice"),
    [
        ("https://example.org/dog.wav", "download it, and give the path or the bytes"),
        ("file:///tmp/dog.wav", "without file://"),
        ("data:audio/wav;base64,UklGRg==", "the bytes that it encodes"),
        ("UklGR" * 5_000, "base64.b64decode"),
        ("~/no such dog.wav", "os.path.expanduser"),
        ("no such *.wav", "glob.glob"),
        ('"no such dog.wav"', "Quotes and white space"),
        ("no such dog.wav\n", "Quotes and white space"),
        ("no such dog.wav", "no such file.$"),
    ],
)
def test_what_is_no_path_is_told_what_would_be(given: str, advice: str) -> None:
    with pytest.raises((AudioNotFoundError, AudioDecodeError), match=advice) as caught:
        open_sound(given, None, 48_000)
    assert len(str(caught.value)) < 300


def test_memory_that_was_released() -> None:
    memory = memoryview(encoded("WAV"))
    memory.release()
    with pytest.raises(AudioTypeError, match="was released"):
        open_sound(memory, None, 48_000)
