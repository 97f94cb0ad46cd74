"""A folder that appears whole or not at all, in the place of a bundle and of nothing else."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import claprt
from claprt.system import atomic
from claprt.system.locks import HAS_LOCKS
from claprt_export import cli, pipeline
from claprt_export.atomic import new_folder
from claprt_export.errors import OutputError, ParityError

is_bundle = pipeline._is_bundle  # pyright: ignore[reportPrivateUsage]


def write(out: Path, *, force: bool = True, content: str = "new") -> None:
    """What an export does, in little."""
    with new_folder(out, replace=is_bundle if force else None) as new:
        assert new.parent == Path(os.path.realpath(out)).parent
        assert new.name.startswith(".")
        (new / "content").write_text(content)


def names(place: Path) -> set[str]:
    return {path.name for path in place.iterdir()}


@pytest.fixture
def copy(bundle: Path, tmp_path: Path) -> Path:
    """A bundle in a folder of its own."""
    return Path(shutil.copytree(bundle, tmp_path / "place" / "copy"))


# what may be replaced


def test_a_new_folder(tmp_path: Path) -> None:
    for force in (False, True):
        out = tmp_path / "deep" / f"out-{force}"
        write(out, force=force)
        assert (out / "content").read_text() == "new"
        assert out.stat().st_mode & 0o700 == 0o700
    assert names(tmp_path / "deep") == {"out-False", "out-True"}


def test_a_bundle_and_an_empty_folder_are_replaced(copy: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for out in (copy, tmp_path / "empty"):
        with pytest.raises(OutputError, match="exists already; add --force"):
            write(out, force=False)
        assert "content" not in names(out)
        write(out)
        assert names(out) == {"content"}
    assert names(tmp_path) == {"empty", "place"}
    assert names(copy.parent) == {"copy"}


def test_a_bundle_that_misses_a_file_is_still_one(copy: Path) -> None:
    (copy / "text.fp32.onnx").unlink()
    write(copy)
    assert names(copy) == {"content"}


@pytest.mark.parametrize("foreign", ["notes.txt", ".hidden", "audio.int8.onnx"])
def test_a_file_beside_a_bundle_is_kept(copy: Path, foreign: str) -> None:
    (copy / foreign).write_text("precious")
    before = names(copy)
    with pytest.raises(OutputError, match="not a bundle and nothing else; --force replaces only bundles"):
        write(copy)
    assert names(copy) == before
    assert names(copy.parent) == {"copy"}
    claprt.read_bundle(copy)


@pytest.mark.parametrize("manifest", [None, "", "{}", '{"schema": 1}', "[" * 5_000])
def test_what_only_looks_like_a_bundle_is_kept(tmp_path: Path, manifest: str | None) -> None:
    """Many programs write a manifest.json."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "manifest.json" if manifest is not None else out / "x").write_text(manifest or "")
    with pytest.raises(OutputError, match="not a bundle"):
        write(out)
    assert len(names(out)) == 1
    assert names(tmp_path) == {"out"}


def test_a_file_is_kept(tmp_path: Path) -> None:
    (tmp_path / "out").write_text("precious")
    with pytest.raises(OutputError, match="not a bundle"):
        write(tmp_path / "out")
    assert (tmp_path / "out").read_text() == "precious"


def test_the_folder_where_the_program_stands(copy: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "empty").mkdir()
    for out in (copy, tmp_path / "empty"):
        monkeypatch.chdir(out)
        for name in (Path(), out):
            with pytest.raises(OutputError, match="is where this program stands"):
                write(name)
    assert claprt.load(copy).dim == 512


def test_a_mounted_volume(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda self: self == copy)  # pyright: ignore[reportUnknownLambdaType]
    with pytest.raises(OutputError, match="a mounted volume"):
        write(copy)
    claprt.read_bundle(copy)


def test_a_link_stays_and_what_it_points_to_is_replaced(copy: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(copy, target_is_directory=True)
    with pytest.raises(OutputError, match="exists already"):
        write(link, force=False)
    write(link)
    assert link.is_symlink()
    assert names(copy) == {"content"}
    (copy / "precious").touch()
    with pytest.raises(OutputError, match="not a bundle"):
        write(link)
    assert names(tmp_path) == {"link", "place"}


def test_a_link_to_nothing(tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "elsewhere" / "out")
    write(link, force=False)
    assert link.is_symlink()
    assert names(tmp_path / "elsewhere" / "out") == {"content"}


@pytest.mark.parametrize("force", [False, True])
def test_links_in_a_circle(tmp_path: Path, force: bool) -> None:
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(OutputError, match=r"exists already|not a bundle"):
        write(tmp_path / "loop", force=force)
    assert names(tmp_path) == {"loop"}


def test_the_place_is_checked_before_anything_is_read(copy: Path) -> None:
    (copy / "precious").touch()
    with pytest.raises(OutputError, match="not a bundle and nothing else"):
        pipeline.export_bundle(copy, checkpoint=copy / "no such file", force=True)


def test_the_place_is_checked_again_at_the_end(copy: Path) -> None:
    """An export takes minutes, and somebody may put something there."""
    with pytest.raises(OutputError, match="not a bundle"), new_folder(copy, replace=is_bundle):
        (copy / "precious").touch()
    assert "precious" in names(copy)
    out = copy.parent / "new"
    with pytest.raises(OutputError, match="exists already"), new_folder(out, replace=None):
        out.mkdir()
    assert names(copy.parent) == {"copy", "new"}


# what goes wrong


def _write_and_raise(out: Path, raised: BaseException) -> None:
    with new_folder(out, replace=is_bundle) as new:
        (new / "half").touch()
        raise raised


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (ParityError("on purpose"), ParityError),
        (KeyboardInterrupt(), KeyboardInterrupt),
        (RuntimeError("a bug"), RuntimeError),
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), OutputError),
    ],
)
def test_a_failure_leaves_what_was_there(copy: Path, raised: BaseException, expected: type[BaseException]) -> None:
    for out in (copy, copy.parent / "new"):
        with pytest.raises(expected) as caught:
            _write_and_raise(out, raised)
        if expected is OutputError:
            assert "No space left on device. Nothing was changed there" in str(caught.value)
    assert names(copy.parent) == {"copy"}
    assert claprt.load(copy).dim == 512


@pytest.fixture
def without_exchange(monkeypatch: pytest.MonkeyPatch) -> None:
    """A system that cannot exchange two folders in one step."""
    monkeypatch.setattr(atomic, "_exchange", lambda *_: False)


@pytest.mark.usefixtures("without_exchange")
@pytest.mark.parametrize("failing", [0, 1])
@pytest.mark.parametrize("raised", [OSError(errno.EXDEV, os.strerror(errno.EXDEV)), KeyboardInterrupt()])
def test_a_swap_that_fails_is_taken_back(
    copy: Path, failing: int, raised: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of the two renames, the old folder away and the new one in, either may fail; putting back may not."""
    rename, calls = Path.rename, iter(range(9))

    def fail(self: Path, target: Any) -> Path:
        if next(calls) == failing:
            raise raised
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OutputError if isinstance(raised, OSError) else KeyboardInterrupt):
        write(copy)
    monkeypatch.undo()
    assert names(copy.parent) == {"copy"}
    assert claprt.load(copy).dim == 512


@pytest.mark.usefixtures("without_exchange")
def test_an_interrupt_after_the_swap(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Either the new or the old folder is there, and nothing beside it."""
    rename = Path.rename

    def interrupted(self: Path, target: Any) -> Path:
        renamed = rename(self, target)
        if self.suffix == ".partial":
            raise KeyboardInterrupt
        return renamed

    monkeypatch.setattr(Path, "rename", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(copy)
    assert names(copy) == {"content"}
    assert names(copy.parent) == {"copy"}


def test_a_first_export_that_cannot_be_put_in_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> Path:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(OutputError, match="cannot be written"):
        write(tmp_path / "out")
    assert names(tmp_path) == set()


@pytest.mark.parametrize("name", ["a" * 300, "nowhere/" + "b" * 300])
def test_a_name_too_long(tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="cannot be written: File name too long"):
        write(tmp_path / name)


def test_a_folder_that_may_not_be_listed(copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path) -> Any:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(Path, "iterdir", refuse)
    with pytest.raises(OutputError, match="cannot be written: Permission denied"):
        write(copy)


def test_two_exports_to_one_place(tmp_path: Path) -> None:
    """The second one to end finds something there, and says so."""
    out = tmp_path / "out"
    with pytest.raises(OutputError, match="exists already"), new_folder(out, replace=None):
        write(out, force=False, content="first")
    assert (out / "content").read_text() == "first"
    assert names(tmp_path) == {"out"}


def test_what_a_kill_left_is_in_nobodys_way(copy: Path) -> None:
    """Of an older release it cannot be told from an export that still runs, so it is neither used nor removed."""
    left = {f".copy.{token}{kind}" for token in ("", "0a1b2c3d.") for kind in ("partial", "old")}
    for name in left:
        (copy.parent / name).mkdir()
    write(copy)
    assert names(copy.parent) == {"copy", *left}


_KILLED = """
import os, signal, sys
from pathlib import Path
from claprt.system import atomic
from claprt_export.atomic import new_folder

how, out = sys.argv[1], Path(sys.argv[2])
rename, exchanged = Path.rename, atomic._exchange
calls = iter(range(9))

def killed(self, target):
    if next(calls) == int(how[-1]):
        os.kill(os.getpid(), signal.SIGKILL)
    return rename(self, target)

def killed_after(*folders):
    done = exchanged(*folders)
    os.kill(os.getpid(), signal.SIGKILL)
    return done

if how.startswith("rename"):
    atomic._exchange = lambda *_: False
    Path.rename = killed
elif how == "exchange":
    atomic._exchange = killed_after
with new_folder(out, replace=lambda _: True) as new:
    (new / "content").write_text("new")
    if how == "block":
        os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.skipif(not HAS_LOCKS, reason="needs locks of folders")
@pytest.mark.parametrize("how", ["block", "exchange", "rename 0", "rename 1"])
def test_a_killed_export_leaves_a_bundle_and_the_next_one_tidies(copy: Path, how: str) -> None:
    """By SIGKILL, which nobody can catch, before, within and after the swap."""
    done = subprocess.run([sys.executable, "-c", _KILLED, how, str(copy)], check=False)
    assert done.returncode == -signal.SIGKILL
    if how == "exchange":
        if sys.platform != "linux":
            pytest.skip("only Linux exchanges folders")
        assert names(copy) == {"content"}
    elif how == "rename 1":
        assert not copy.exists()  # what a system without exchange cannot help, for a moment
    else:
        assert claprt.load(copy).dim == 512
    assert len(names(copy.parent)) == 2
    if how == "rename 1":
        with pytest.raises(OutputError, match="exists already"):
            write(copy, force=False)
        assert claprt.load(copy).dim == 512  # put back
    else:
        if how == "exchange":
            shutil.rmtree(copy)
        write(copy)
        assert names(copy) == {"content"}
    assert names(copy.parent) == {"copy"}


@pytest.mark.skipif(not HAS_LOCKS, reason="needs locks of folders")
def test_an_export_at_work_is_not_tidied_away(copy: Path) -> None:
    with new_folder(copy, replace=is_bundle) as new:
        other = new.with_name(new.name.replace(".copy.", ".copy-2.")).with_suffix(".partial")
        other.mkdir()
        (new / "half").touch()
        write(copy, content="first")
        assert (new / "half").exists()
        shutil.rmtree(copy)
    assert names(copy) == {"half"}
    assert names(copy.parent) == {"copy", other.name}


@pytest.mark.skipif(not HAS_LOCKS, reason="needs locks of folders")
def test_an_export_that_begins_at_the_same_time_is_not_tidied_away(copy: Path) -> None:
    """Its folder has been made, and its lock not taken yet; one that has long been so is what a kill left."""
    other = copy.with_name(f".{copy.name}.1-0a1b2c3d.partial")
    other.mkdir()
    write(copy)
    assert names(copy.parent) == {"copy", other.name}
    os.utime(other, (1, 1))
    shutil.rmtree(copy)
    write(copy, content="next")
    assert names(copy.parent) == {"copy"}


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux exchanges folders")
def test_there_is_a_bundle_at_every_moment(copy: Path) -> None:
    """Somebody who looks all the time sees the old or the new one, and never nothing."""
    watcher = subprocess.Popen(
        [
            sys.executable, "-c",
            "import os, sys\nprint('looking', flush=True)\nwhile os.path.isdir(sys.argv[1]): pass", str(copy),
        ],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert watcher.stdout is not None
        assert watcher.stdout.readline() == b"looking\n"
        for number in range(200):
            with new_folder(copy, replace=lambda _: True) as new:
                (new / str(number)).touch()
        assert watcher.poll() is None
    finally:
        watcher.kill()
        watcher.communicate()
    assert names(copy) == {"199"}
    assert names(copy.parent) == {"copy"}


# signals

_EXPORT = """
import signal, sys, time, types
from claprt_export import cli
from claprt_export.atomic import new_folder

def export(out, **_):
    with new_folder(out, replace=None) as folder:
        (folder / "half").touch()
        print("begun", flush=True)
        time.sleep(60)

signal.signal(signal.SIGHUP, signal.SIG_IGN if sys.argv[2] == "nohup" else signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.modules["claprt_export.pipeline"] = types.SimpleNamespace(export_bundle=export)  # the real one imports torch
sys.exit(cli.main(["--out", sys.argv[1]]))
"""


@pytest.mark.skipif(not hasattr(signal, "SIGHUP"), reason="needs POSIX signals")
def test_signals(tmp_path: Path) -> None:
    """Told to stop, it clears away what it has begun; nohup's word that SIGHUP be ignored is kept."""
    cases = {"stop": signal.SIGTERM, "hang up": signal.SIGHUP, "interrupt": signal.SIGINT, "nohup": signal.SIGHUP}
    running = {
        name: subprocess.Popen(
            [sys.executable, "-c", _EXPORT, str(tmp_path / "out"), name],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        )
        for name in cases
    }  # fmt: skip
    try:
        for process in running.values():
            assert process.stdout is not None
            assert process.stdout.readline() == "begun\n"
        assert len(names(tmp_path)) == len(running)
        for name, process in running.items():
            process.send_signal(cases[name])
            if name == "nohup":
                time.sleep(0.3)
                assert process.poll() is None
                process.send_signal(signal.SIGTERM)
            _, said = process.communicate(timeout=30)
            assert process.returncode == 130
            assert "claprt-export: interrupted; nothing was written." in said
        assert names(tmp_path) == set()
    finally:
        for process in running.values():
            process.kill()
            process.communicate()


def test_handlers_are_installed_before_the_export_begins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    installed: dict[int, Any] = {}
    monkeypatch.setattr(signal, "signal", lambda number, handler: installed.update({number: handler}))
    monkeypatch.setattr(signal, "getsignal", lambda number: signal.SIG_DFL)
    assert cli.main(["--out", str(tmp_path / "out"), "no-such-variant"]) == 1
    assert installed.keys() == {getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)}
    with pytest.raises(KeyboardInterrupt):
        installed[signal.SIGTERM](signal.SIGTERM, None)
