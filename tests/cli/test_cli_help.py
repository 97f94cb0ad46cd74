"""The command line's help and its answers to wrong usage."""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
from collections.abc import Iterator

import pytest

from claprt.cli import main, parser


def commands() -> dict[str, argparse.ArgumentParser]:
    (choices,) = [action.choices for action in parser()._actions if isinstance(action.choices, dict)]
    return choices


def options() -> Iterator[tuple[str, argparse.ArgumentParser, argparse.Action]]:
    for name, command in commands().items():
        for action in command._actions:
            if action.option_strings and action.dest != "help":
                yield name, command, action


def test_every_default_is_stated_and_true() -> None:
    seen = 0
    for name, command, action in options():
        shown = command._get_formatter()._expand_help(action)
        where = f"{name} {action.option_strings[0]}: {shown}"
        if action.default not in (None, False, []):
            stated = f"{action.default:g}" if isinstance(action.default, float) else str(action.default)
            assert re.search(rf"\({re.escape(stated)}[,)]", shown), where
            seen += 1
        elif action.choices is not None and action.dest != "precision":  # which means fp32 where it is left out
            assert not any(f"({choice})" in shown for choice in action.choices), where
    assert seen >= 15


_IMPORTED = """
import contextlib, sys
from claprt.cli import main
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(None):
    main(sys.argv[1:])
print(*sys.modules)
"""


def test_a_command_imports_its_own_module_alone() -> None:
    command = [sys.executable, "-c", _IMPORTED, "classify", "--help"]
    found = set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())
    modules = {name: f"claprt.cli.{name.replace('map', 'sound_map')}" for name in commands()}
    assert [name for name, module in modules.items() if module in found] == ["classify"]
    assert not found & {"tqdm", "claprt.library", "claprt.evaluation", "claprt.serve", "claprt.triton", "onnxruntime"}


@pytest.mark.parametrize("name", list(commands()))
def test_the_parser_of_one_command_is_that_of_all(name: str) -> None:
    (one,) = [action.choices for action in parser(name)._actions if isinstance(action.choices, dict)]
    assert list(one) == [name]
    assert one[name].format_help() == commands()[name].format_help()


def test_serve_states_its_own_recipe() -> None:
    given = {name: action.default for name, _, action in options() if action.dest == "preprocess"}
    assert given["serve"] is None  # decided with --library
    assert given["embed"] == "laion"
    assert "(kromosynth, or with --library the library's own)" in " ".join(commands()["serve"].format_help().split())


def test_every_option_is_explained() -> None:
    for name, _, action in options():
        assert action.help, (name, action.option_strings)


def test_every_command_can_be_quiet_and_shows_its_usage() -> None:
    for name, command in commands().items():
        assert command.format_usage().startswith(f"usage: claprt {name} ")
        assert any("--quiet" in action.option_strings and "-q" in action.option_strings for action in command._actions)


@pytest.mark.parametrize("name", ["embed", "classify", "tag", "similarity", "evaluate", "calibrate", "inspect", "latency"])
def test_json_is_a_switch(name: str) -> None:
    action = commands()[name]._option_string_actions["--json"]
    assert action.nargs in (0, "?")


@pytest.mark.parametrize("columns", ["60", "80", "200"])
def test_each_command_on_one_line(
    columns: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    with pytest.raises(SystemExit):
        main(["--help"])
    shown = capsys.readouterr().out
    for name in commands():
        assert re.search(rf"^    {name} +\w", shown, re.MULTILINE), name
    assert max(map(len, shown.splitlines())) <= int(columns)


@pytest.mark.parametrize(
    ("arguments", "usage", "words"),
    [
        (["clasify", "a.wav"], "claprt COMMAND", "invalid choice: 'clasify'"),
        (["clasify", "a.wav"], "claprt COMMAND", "Did you mean classify?"),
        (["embed", "a.wav", "--jsn"], "claprt embed", "unrecognized arguments: --jsn. Did you mean --json?"),
        (
            ["embed", "a.wav", "--frobnicate"],
            "claprt embed",
            "unrecognized arguments: --frobnicate. See claprt embed --help",
        ),
        (["classify", "a.wav", "--label=a", "--tmplate=x"], "claprt classify", "Did you mean --template?"),
        (["embed", "a.wav", "--provider", "cpo"], "claprt embed", "Did you mean cpu?"),
        (["embed"], "claprt embed", "name at least one FILE or --text"),
        (["similarity", "a.wav"], "claprt similarity", "name two files, or one and --text"),
        (["classify", "a.wav"], "claprt classify", "--labels, --label or --labels-file"),
        (["tag", "--tags", "dog", "rain"], "claprt tag", "name at least one FILE, as in claprt tag dog.wav --tags TAG"),
        (["inspect", "a", "b"], "claprt inspect", "unrecognized arguments: b"),
    ],
)
def test_wrong_usage(arguments: list[str], usage: str, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(f"usage: {usage}")
    assert words in captured.err
    assert len(captured.err.splitlines()) == 2


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    for arguments in (["--version"], ["-V"]):
        with pytest.raises(SystemExit) as caught:
            main(arguments)
        assert caught.value.code == 0
        assert re.fullmatch(r"claprt \d+\.\d+\.\d+\S*\n", capsys.readouterr().out)


@pytest.mark.parametrize(
    "arguments",
    [
        ["a.wav", "b.wav", "--on-error", "skip"],
        ["a.wav", "--on-error", "skip", "b.wav"],
        ["--on-error", "skip", "a.wav", "b.wav"],
        ["--on-error=skip", "--", "a.wav", "b.wav"],
    ],
)
def test_files_and_options_in_any_order(arguments: list[str]) -> None:
    given = parser().parse_args(["embed", *arguments, "--text", "x"] if "--" not in arguments else ["embed", *arguments])
    assert given.files == ["a.wav", "b.wav"]
    assert given.on_error == "skip"


def test_a_file_that_begins_with_a_dash() -> None:
    assert parser().parse_args(["embed", "--", "-loud.wav"]).files == ["-loud.wav"]
    assert parser().parse_args(["embed", "-"]).files == ["-"]
    assert parser().parse_args(["classify", "--labels", "a", "b", "--", "-loud.wav"]).files == ["-loud.wav"]
    assert parser().parse_args(["inspect", "--", "-bundle"]).bundle == "-bundle"
