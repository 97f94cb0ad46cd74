"""Sound files that end early, and sources that fail in ways of their own: always one of our errors."""

from __future__ import annotations

import io
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

import claprt
from claprt.audio.sound import open_sound
from claprt.errors import AudioDecodeError, AudioError, AudioTypeError

RAMP = np.linspace(-0.5, 0.5, 1_000, dtype=np.float32)
NOISE = np.random.default_rng(0).normal(0, 0.1, 60_000).astype(np.float32)


def samples(source: Any) -> NDArray[Any]:
    return np.concatenate(list(open_sound(source, None, 48_000).blocks))


def encoded(waveform: NDArray[Any] = RAMP, form: str = "WAV", endian: str | None = None) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, waveform, 44_100, format=form, subtype="PCM_16", endian=endian)
    return file.getvalue()


# files that end early

STATED = [
    ("WAV", None), ("WAV", "BIG"), ("WAVEX", None), ("AIFF", None), ("AU", None), ("AU", "LITTLE"), ("RF64", None),
    ("W64", None), ("CAF", None), ("SVX", None), ("MAT4", "BIG"), ("MAT4", "LITTLE"),
]  # fmt: skip


@pytest.mark.parametrize(("form", "endian"), STATED)
def test_a_file_shorter_than_its_header_states(tmp_path: Path, form: str, endian: str | None) -> None:
    content = encoded(form=form, endian=endian)
    assert samples(content).size == RAMP.size
    path = tmp_path / "cut.wav"
    for missing in (100, 500):
        path.write_bytes(content[:-missing])
        for source in (path, content[:-missing]):
            with pytest.raises(AudioDecodeError, match=r"is truncated: its header states \d+ and \d+ are there"):
                samples(source)


def test_truncation_is_noticed_before_anything_is_embedded() -> None:
    """Opening is enough: with long="head" the end is never read."""
    with pytest.raises(AudioDecodeError, match="is truncated"):
        open_sound(encoded(NOISE)[:-1_000], None, 48_000)


# paths


@pytest.mark.parametrize("path", ["a" * 300, "a/" * 3_000 + "b.wav", "nul\0byte.wav"])
def test_paths_that_cannot_be(path: str) -> None:
    with pytest.raises(AudioDecodeError, match="cannot be read"):
        samples(path)
    with pytest.raises(AudioError):
        samples(Path(path))


def test_a_path_below_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(AudioDecodeError, match="cannot be read: Not a directory"):
        samples(tmp_path / "file" / "sound.wav")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission(tmp_path: Path) -> None:
    path = tmp_path / "secret.wav"
    path.write_bytes(encoded())
    path.chmod(0)
    with pytest.raises(AudioDecodeError, match="cannot be read: Permission denied"):
        samples(path)


def test_a_refused_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same for whoever runs as root."""
    path = tmp_path / "secret.wav"
    path.write_bytes(encoded())

    def refuse(*_: Any, **__: Any) -> Any:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(AudioDecodeError, match=r"secret.wav cannot be read: Permission denied\."):
        samples(path)


@pytest.mark.skipif(os.name != "posix", reason="names are bytes on POSIX only")
def test_a_name_that_is_no_utf_8(tmp_path: Path) -> None:
    raw = os.fsencode(tmp_path) + b"/caf\xe9 \xff.wav"
    try:
        Path(os.fsdecode(raw)).write_bytes(encoded())
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    for source in (os.fsdecode(raw), Path(os.fsdecode(raw))):
        sound = open_sound(source, None, 48_000)
        assert sound.name == os.fsdecode(raw)
        assert np.concatenate(list(sound.blocks)).size == RAMP.size


# file objects


class Plain:
    """Only `read`, as a response of an HTTP client."""

    def __init__(self, content: bytes | str) -> None:
        self._rest = content

    def read(self) -> bytes | str:
        content, self._rest = self._rest, self._rest[:0]
        return content


class Pipe(Plain):
    def seekable(self) -> bool:
        return False


@pytest.mark.parametrize("kind", [Plain, Pipe])
def test_what_can_be_read_but_not_rewound(kind: type[Plain]) -> None:
    assert samples(kind(encoded())).size == RAMP.size
    with pytest.raises(AudioError, match="holds no bytes"):
        samples(kind(b""))
    with pytest.raises(AudioTypeError, match=f"{kind.__name__} gives str, not bytes; open it in binary mode"):
        samples(kind("text"))


class Failing(io.BytesIO):
    """Fails in one method, or in `read` after some calls."""

    name = "remote.wav"

    def __init__(self, content: bytes, method: str, calls: int = 0) -> None:
        super().__init__(content)
        self.method, self.calls = method, calls

    def _may_fail(self, method: str) -> None:
        if method == self.method:
            self.calls -= 1
            if self.calls < 0:
                raise ConnectionResetError("the other side is gone")

    def read(self, size: int | None = -1, /) -> bytes:
        self._may_fail("read")
        return super().read(size)

    def seek(self, offset: int, whence: int = 0, /) -> int:
        self._may_fail("seek")
        return super().seek(offset, whence)

    def tell(self) -> int:
        self._may_fail("tell")
        return super().tell()

    def seekable(self) -> bool:
        self._may_fail("seekable")
        return True


@pytest.mark.parametrize("method", ["seekable", "seek", "tell", "read"])
@pytest.mark.parametrize("form", ["WAV", "FLAC"])
def test_a_file_object_that_fails_at_once(method: str, form: str, capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(AudioDecodeError, match=r"remote.wav cannot be read: the other side is gone\."):
        samples(Failing(encoded(NOISE, form), method))
    assert capfd.readouterr().err == ""  # nothing but the error: no traceback of a callback


@pytest.mark.parametrize("calls", [1, 2, 4, 8, 12])
@pytest.mark.parametrize("form", ["WAV", "FLAC", "AIFF"])
def test_a_file_object_that_fails_on_the_way(calls: int, form: str, capfd: pytest.CaptureFixture[str]) -> None:
    """Never the vector of what came before."""
    source = Failing(encoded(NOISE, form), "read", calls)
    try:
        assert samples(source).size == NOISE.size
        assert source.calls >= 0  # it was not asked so often
    except AudioDecodeError as error:
        assert "the other side is gone" in str(error)  # noqa: PT017 - either may come
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("error", [KeyError("x"), RuntimeError("closed"), OSError(5, "Input/output error"), EOFError()])
def test_whatever_read_raises(error: Exception) -> None:
    def fail(*_: Any) -> bytes:
        raise error

    source = Plain(b"")
    source.read = fail
    with pytest.raises(AudioDecodeError, match="Plain cannot be read: ") as caught:
        samples(source)
    assert caught.value.__cause__ is error


def test_closed_files(tmp_path: Path) -> None:
    path = tmp_path / "sound.wav"
    path.write_bytes(encoded())
    with path.open("rb") as file:
        pass
    memory = io.BytesIO(encoded())
    memory.close()
    for source in (file, memory):
        with pytest.raises(AudioDecodeError, match="closed file"):
            samples(source)


def test_text_streams(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "sound.wav"
    path.write_bytes(encoded())
    with path.open(encoding="latin-1") as file:
        for source in (file, io.StringIO("RIFF")):
            with pytest.raises(AudioError, match="binary mode"):
                samples(source)
    assert capfd.readouterr().err == ""


def test_an_array_that_cannot_be_had() -> None:
    class Elsewhere:
        def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
            raise RuntimeError("it lies on another device")

    with pytest.raises(AudioTypeError, match="Elsewhere could not be taken as an array: it lies on another device"):
        samples(Elsewhere())


def test_foreign_errors_stop_one_source_only(clap: claprt.Clap) -> None:
    sources: list[Any] = ["a" * 300, Failing(encoded(), "read"), Pipe("text"), RAMP]
    found = list(clap.iter_audio(sources))
    assert [type(one.error) for one in found] == [AudioDecodeError, AudioDecodeError, AudioTypeError, type(None)]
