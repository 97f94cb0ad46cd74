"""What the command line shows on terminals of any width and encoding, and where its streams are closed or full."""

from __future__ import annotations

import csv
import io
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.cli import main
from claprt.cli.tables import cosine_table
from claprt.samples import sample_path
from claprt.system.terminal import cells
from tests.streams import CLOSED, command
from tests.terminal import on_a_terminal

RATE = 48_000
CLAPRT = f'"{sys.executable}" -m claprt'


@pytest.fixture(autouse=True)
def named(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CLAPRT_BUNDLE", str(bundle))


def shell(command: str, **environment: str) -> subprocess.CompletedProcess[bytes]:
    if sys.platform == "win32":
        pytest.skip("needs a shell of POSIX")
    return subprocess.run(command, shell=True, capture_output=True, check=False, env={**os.environ, **environment})


# encodings


def test_bars_where_blocks_cannot_be_shown() -> None:
    classify = ["classify", sample_path(), "--bundle", "mini", "--labels", "a dog barking", "rain"]
    plain = shell(f"{CLAPRT} {shlex.join(classify)}", LC_ALL="C", PYTHONUTF8="0", PYTHONCOERCECLOCALE="0")
    assert plain.returncode == 0, plain.stderr
    done = command(classify, encoding="cp1252")
    assert done.status == 0, done.err
    for shown in (plain.stdout, done.out):
        first, second = shown.decode("ascii").splitlines()
        assert "  " + "#" * 40 + "  cosine" in first
        assert "  |" in second
    done = command(["inspect", "mini"], encoding="ascii", errors="surrogateescape")
    assert done.status == 0
    assert b"\\u" not in done.out
    assert b"50-14000 Hz" in done.out


def test_a_character_that_has_no_stand_in_is_escaped() -> None:
    done = command(["embed", "--text", "x", "missing-♪.wav"], encoding="ascii")
    assert rb"missing-\u266a.wav" in done.err


# control characters


def test_names_and_labels_cannot_drive_a_terminal(tmp_path: Path) -> None:
    escape = "\x1b[31m\x1b]0;title\x07\r\x9b2J\u202e"
    name = tmp_path / f"dog{escape}.wav"
    name.write_bytes(Path(sample_path()).read_bytes())
    bad = tmp_path / f"bad{escape}.wav"
    bad.write_text("no sound")
    files = [str(name), str(bad), str(name)]
    for arguments in (
        ["classify", *files, "--labels", f"rain{escape}", "b"],
        ["tag", *files, "--tags", f"rain{escape}", "b"],
        ["similarity", *files, "--on-error", "skip"],
        ["similarity", *files, "--on-error", "skip", "--text", f"rain{escape}", "--text", "b"],
        ["embed", *files, "--on-error", "skip", "--text", f"rain{escape}"],
        ["embed", *files],
        ["embed", str(name), "-o", str(tmp_path / f"x{escape}.npz")],
        ["demo", "--save", str(tmp_path / f"x{escape}.wav")],
        ["inspect", escape],
        ["classify", str(name), f"--template={escape}", "--labels", "a"],
    ):
        _, shown = on_a_terminal(arguments)
        assert r"\x1b" in shown, arguments
        assert not {"\x1b", "\x07", "\x9b", "\u202e"} & set(shown), arguments
        assert "\r\\x9b" not in shown, arguments  # other carriage returns are of lines and bars


def test_control_characters_stay_in_json(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name = tmp_path / "dog\x1b[31m.wav"
    name.write_bytes(Path(sample_path()).read_bytes())
    assert main(["embed", str(name)]) == 0
    shown = capsys.readouterr().out
    assert "\x1b" not in shown
    assert json.loads(shown)["source"] == str(name)


# widths


def test_a_table_of_many_files_fits(tmp_path: Path) -> None:
    files: list[str] = []
    for number in range(12):
        path = tmp_path / f"a-folder-with-a-long-name-{number}" / f"sound-{number}.wav"
        path.parent.mkdir()
        path.write_bytes(Path(sample_path()).read_bytes())
        files.append(str(path))
    status, shown = on_a_terminal(["similarity", *files, "-q"], columns=70)
    lines = shown.replace("\r\n", "\n").splitlines()
    assert status == 0
    assert max(map(cells, lines)) <= 70
    assert all(
        any(line.startswith(f"[{number + 1}]") and f"sound-{number}.wav" in line for line in lines) for number in range(12)
    )
    numbers = " ".join(line for line in lines if line.startswith(" ")).split()
    assert numbers == [f"[{number}]" for number in range(1, 13)]
    assert sum(line.count("+1.000") for line in lines) == 12 * 12


@pytest.mark.parametrize("columns", [30, 60, 200])
def test_charts_fit(columns: int, tmp_path: Path) -> None:
    label = "静かな雨の音が聞こえる、とても長いラベル" * 2
    status, shown = on_a_terminal(["classify", sample_path(), "--labels", label, "rain", "-q"], columns=columns)
    assert status == 0
    lines = shown.replace("\r\n", "\n").splitlines()
    assert len(lines) == 2
    assert max(map(cells, lines)) <= max(columns, 38)
    assert len({cells(line) for line in lines}) == 1


def test_a_table_in_a_file_is_as_wide_as_it_is(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    assert main(["similarity", *[sample_path()] * 30]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 31


def test_table_of_long_texts() -> None:
    cosines = np.array([[0.5, -0.25]], np.float32)
    shown = cosine_table(["a.wav"], ["a dog that barks in the night", "rain"], cosines).splitlines()
    assert shown[0].split() == ["[1]", "[2]"]
    assert shown[1].split() == ["a.wav", "+0.500", "-0.250"]
    assert shown[-2:] == ["[1] a dog that barks in the night", "[2] rain"]


def test_table_of_wide_characters() -> None:
    head, row = cosine_table(["あ.wav"], ["静か", "rain"], np.array([[0.5, -0.25]], np.float32)).splitlines()
    assert cells(head[: head.index("rain")]) == cells(row[: row.index("-0.250")])
    assert cells(head[: head.index("静か")]) == cells(row[: row.index("+0.500")])


# notes and progress


@pytest.mark.usefixtures("brief_latency")
def test_quiet_is_silent(
    bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Libraries in C write to the descriptors themselves."""
    monkeypatch.delenv("CLAPRT_BUNDLE")
    sample = sample_path()
    out = str(tmp_path / "x.npz")
    for arguments in (
        ["embed", sample, "-o", out],
        ["classify", sample, "--labels", "rain"],
        ["tag", sample, "--tags", "rain"],
        ["similarity", sample, sample],
        ["latency", "--trials", "1", "--target-ms", "100000", "--bundle", str(bundle)],
        ["inspect"],
        ["demo"],
    ):
        assert main([*arguments, "--quiet"]) == 0
        captured = capfd.readouterr()
        assert captured.err == "", arguments
        assert captured.out or arguments[0] == "embed"


@pytest.mark.usefixtures("brief_latency")
@pytest.mark.parametrize("command", ["embed", "classify", "tag", "similarity", "inspect", "latency", "demo"])
def test_the_small_model_is_named_where_it_matters(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("CLAPRT_BUNDLE")
    more = {
        "embed": [sample_path()],
        "classify": [sample_path(), "--labels=dog,rain"],
        "tag": [sample_path(), "--tags=dog,rain"],
        "similarity": [sample_path(), sample_path()],
        "latency": ["--trials=1", "--target-ms=100000"],
    }
    assert main([command, *more.get(command, [])]) == 0
    said = capsys.readouterr().err
    assert said.count("note: using mini, the small model") == (command in ("embed", "classify", "tag", "similarity"))
    assert all(len(line) <= 100 for line in said.splitlines())
    if command not in ("inspect", "demo", "latency"):
        assert main([command, *more.get(command, []), "--bundle", "mini"]) == 0
        assert "using mini" not in capsys.readouterr().err


def test_what_was_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.wav"
    bad.write_text("no sound")
    files = [sample_path("dog"), sample_path("rain"), str(bad)]
    for suffix in (".npz", ".npy", ".jsonl", ".csv"):
        out = tmp_path / f"x{suffix}"
        assert main(["embed", *files, "--text", "a", "--on-error", "skip", "-o", str(out)]) == 1
        captured = capsys.readouterr()
        assert captured.out == ""
        assert captured.err.splitlines()[-1] == f"wrote {out}: 2 sounds, 1 text, 1 skipped"


def test_csv(clap: claprt.Clap, tmp_path: Path) -> None:
    out = tmp_path / "x.csv"
    assert main(["embed", sample_path("dog"), sample_path("rain"), "--text", "rain, heavy", "-o", str(out)]) == 0
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [(row["source"], row["text"]) for row in rows] == [
        (sample_path("dog"), ""), (sample_path("rain"), ""), ("", "rain, heavy"),
    ]  # fmt: skip
    vectors = np.array([[row[str(n)] for n in range(clap.dim)] for row in rows], np.float32)
    assert np.array_equal(vectors[:2], clap.embed_audio([sample_path("dog"), sample_path("rain")]))
    assert np.array_equal(vectors[2], clap.embed_text("rain, heavy"))
    assert {row["fingerprint"] for row in rows} == {clap.fingerprint}


def test_json_lines_on_standard_output(capsys: pytest.CaptureFixture[str]) -> None:
    shown: list[str] = []
    for arguments in ([], ["--json"], ["-o", "-"], ["-o", "-", "--json"]):
        assert main(["embed", sample_path(), *arguments]) == 0
        shown.append(capsys.readouterr().out)
    assert len(set(shown)) == 1
    assert json.loads(shown[0])["source"] == sample_path()
    assert main(["embed", sample_path(), "--json", "-o", "x.npz"]) == 1
    assert "--json is for standard output" in capsys.readouterr().err
    status, on_terminal = on_a_terminal(["embed", sample_path(), "--json", "-q"])
    assert status == 0
    assert json.loads(on_terminal)["source"] == sample_path()


class Terminal(io.StringIO):
    """A standard error that is a terminal."""

    def isatty(self) -> bool:
        return True


def error_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Standard error, and bars that wait for nothing."""
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr("claprt.cli.sounds._bar", lambda: {"leave": False, "ncols": 72, "mininterval": 0, "miniters": 1})
    return shown


@pytest.fixture(scope="module")
def two_minutes(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("long") / "long.wav"
    soundfile.write(path, np.tile(SOUNDS["drums"](RATE * 10, RATE), 12), RATE)
    return str(path)


@pytest.mark.parametrize("long", ["windows", "head", "center"])
def test_progress_within_one_long_file(
    long: str, two_minutes: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    terminal = error_terminal(monkeypatch)
    assert main(["embed", two_minutes, "--long", long, "-o", str(tmp_path / "v.npz")]) == 0
    seconds = [int(found) for found in re.findall(r"(\d+) of 120 s of sound", terminal.getvalue())]
    assert seconds == sorted(seconds)
    assert seconds[-1] == 120
    assert len(set(seconds)) > (2 if long == "head" else 10)  # it moves
    assert terminal.getvalue().splitlines()[-1].startswith("wrote ")


@pytest.mark.parametrize("command", [["embed", "-o", "v.npz"], ["classify", "--json", "--labels=a,b"], ["similarity"]])
def test_progress_over_many_files(command: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = error_terminal(monkeypatch)
    monkeypatch.chdir(tmp_path)
    assert main([command[0], *[sample_path()] * 4, *command[1:]]) == 0
    assert re.findall(r"(\d) of 4 files", terminal.getvalue())[-1] == "4"
    shown = len(terminal.getvalue())
    assert main([command[0], *[sample_path()] * 4, *command[1:], "-q"]) == 0
    assert len(terminal.getvalue()) == shown


def test_progress_makes_room_for_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    """On one terminal, an answer begins on a line that a bar does not stand in."""
    both = error_terminal(monkeypatch)
    monkeypatch.setattr(sys, "stdout", both)
    assert main(["classify", *[sample_path()] * 4, "missing.wav", "--json", "--labels=a,b"]) == 1
    parts = re.split(r"[\r\n]+", both.getvalue())
    assert sum(part.startswith('{"source"') for part in parts) == 4
    assert sum(part.startswith("skipped: ") for part in parts) == 1
    assert not any("source" in part or "skipped" in part for part in parts if not part.startswith(("{", "skipped: ")))


def test_progress_of_datasets(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = error_terminal(monkeypatch)
    for label in ("rain", "drums"):
        for number in range(6):
            path = tmp_path / "set" / label / f"{number}.wav"
            path.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(path, SOUNDS[label](RATE, RATE) * (1 + number) / 6, RATE)
    asked = ["--bundle", str(bundle), "--dataset", str(tmp_path / "set")]
    for arguments in (["evaluate"], ["calibrate", "--dry-run"]):
        main([*arguments, *asked])  # a toy bundle's cosines may not be enough to calibrate
        assert re.findall(r"(\d+) of 12 files", terminal.getvalue())[-1] == "12"
        terminal.truncate(0)
        main([*arguments, *asked, "--quiet"])
        assert "files" not in terminal.getvalue()


def test_no_progress_for_a_moment(two_minutes: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("claprt.cli.sounds._DELAY_S", 600.0)
    for files in ([two_minutes], [sample_path()] * 5):
        terminal = Terminal()
        monkeypatch.setattr(sys, "stderr", terminal)
        assert main(["classify", *files, "--labels=a,b"]) == 0
        assert terminal.getvalue() == "note: tiny has untrained weights; its vectors mean nothing.\n"


# closed and full streams


_NO_OUTPUT = b"claprt: the output cannot be written: standard output is closed"


def test_closed_streams(tmp_path: Path) -> None:
    sample, out = sample_path(), tmp_path / "x.npz"
    for arguments in (
        ["classify", sample, "--labels", "a,b"],
        ["embed", sample],
        ["demo", "--bundle", "mini"],
        ["inspect"],
    ):
        done = command(arguments, stdout=CLOSED)
        assert done.status == 1
        assert done.err.splitlines()[-1] == _NO_OUTPUT
    assert command(["embed", sample, "-o", str(out)], stdout=CLOSED).status == 0
    assert out.is_file()
    done = command(["embed", "-"], stdin=CLOSED)
    assert done.status == 1
    assert b"- reads a sound from standard input, and that is closed" in done.err
    done = command(["embed", sample], stderr=CLOSED)
    assert done.status == 0
    assert json.loads(done.out)["source"] == sample
    assert command(["embed", "missing.wav"], stderr=CLOSED).status == 1
    assert command(["embed", sample], stdin=CLOSED, stdout=CLOSED, stderr=CLOSED).status == 1


def test_a_shell_that_closes_a_stream() -> None:
    done = shell(f"{CLAPRT} inspect >&-")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == _NO_OUTPUT


def test_a_terminal_is_no_sound() -> None:
    status, shown = on_a_terminal(["embed", "-"])
    assert status == 1
    assert "that is a terminal" in shown


def test_a_standard_input_of_a_test(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(Path(sample_path()).read_bytes())))
    assert main(["similarity", "-", sample_path(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["similarity"][0][1] == pytest.approx(1, abs=1e-6)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_named(tmp_path: Path) -> None:
    link = tmp_path / "x.jsonl"
    link.symlink_to("/dev/full")
    done = command(["embed", sample_path(), "-o", str(link)])
    assert done.status == 1
    assert f"claprt: -o {link} cannot be written: No space left on device".encode() in done.err
    skipping = ["embed", "missing.wav", sample_path(), "--on-error", "skip"]
    done = command(skipping, stderr="/dev/full")  # what is only remarked
    assert done.status == 1
    assert len(done.out.splitlines()) == 2
    assert command(["embed", sample_path()], stderr="/dev/full").status == 0


def test_warnings_of_this_package_are_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    import warnings

    from claprt.cli import inspect
    from claprt.errors import FallbackWarning

    def run(options: object) -> int:
        warnings.simplefilter("default")
        warnings.warn("something \x1b else was taken", FallbackWarning, stacklevel=1)
        return 0

    monkeypatch.setattr(inspect, "run", run)
    assert main(["inspect"]) == 0
    assert capsys.readouterr().err == "warning: something \\x1b else was taken\n"
