"""The command `llm` embeds a folder of sounds, finds them by text, and refuses another model."""

from __future__ import annotations

import json
import sqlite3
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import claprt
from claprt.arrays import Embeddings
from tests.integrations.conftest import QUERY
from tests.pages import ROOT

llm: Any = pytest.importorskip("llm", reason="needs llm: make test WHAT=integrations")

from click.testing import CliRunner  # noqa: E402

import claprt.integrations.llm as plugin  # noqa: E402
from claprt.integrations.models import default_fingerprint  # noqa: E402

pytestmark = [pytest.mark.seconds, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def run(copied: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Any]:
    """Runs a command of llm, with its files in a folder of the test's own."""
    from llm.cli import cli  # pyright: ignore[reportMissingImports]

    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / "llm"))
    monkeypatch.setenv("CLAPRT_BUNDLE", str(copied))
    llm.plugins.load_plugins()
    if not llm.plugins.pm.is_registered(plugin):  # as the entry point does where the package is installed with it
        llm.plugins.pm.register(plugin)
    return lambda *arguments: CliRunner().invoke(cli, [str(argument) for argument in arguments])


def test_the_entry_point() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert project["entry-points"]["llm"] == {"claprt": plugin.__name__}


def test_two_hundred_sounds_are_found_by_text(
    run: Callable[..., Any], clap: claprt.Clap, many: list[str], vectors: Embeddings, nearest: list[str], tmp_path: Path,
    replace_model: Callable[[], str],
) -> None:  # fmt: skip
    folder = Path(many[0]).parent
    assert run("embed-multi", "sounds", "--files", folder, "*.wav", "--binary", "-m", "claprt").exit_code == 0
    similar = run("similar", "sounds", "-c", QUERY, "-n", 10)
    assert [json.loads(line)["id"] for line in similar.output.splitlines()] == [Path(path).name for path in nearest]
    by_sound = run("similar", "sounds", "--binary", "-i", many[7], "-n", 1)
    assert json.loads(by_sound.output)["id"] == Path(many[7]).name
    with sqlite3.connect(tmp_path / "llm" / "embeddings.db") as database:
        ((blob,),) = database.execute("select embedding from embeddings where id = ?", [Path(many[7]).name])
        ((model,),) = database.execute("select model from collections")
    assert np.array_equal(np.frombuffer(blob, "<f4"), vectors[7])
    assert model == f"claprt/{clap.fingerprint}"

    other = replace_model()
    refused = run("similar", "sounds", "-c", QUERY)
    assert refused.exit_code != 0
    assert f"Unknown model: {model}" in f"{refused.output} {refused.exception!r}"
    assert f"claprt/{other} (aliases: claprt)" in run("embed-models").output


def test_a_damaged_sound_is_a_sentence(run: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "text.wav").write_text("no sound")
    done = run("embed-multi", "sounds", "--files", tmp_path / "folder", "*.wav", "--binary", "-m", "claprt")
    assert done.exit_code == 1
    assert done.output.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in done.output


def test_models_are_registered_without_being_loaded(
    run: Callable[..., Any], copied: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: Any, **__: Any) -> None:
        raise AssertionError

    monkeypatch.setattr(plugin, "get_model", none)
    monkeypatch.setattr(claprt, "load", none)
    for named in ("630k-audioset-best", "triton://nowhere:8001", "/nowhere"):
        monkeypatch.setenv("CLAPRT_BUNDLE", named)
        assert f"claprt/{named} (aliases: claprt)" in run("embed-models").output
    (copied / "manifest.json").write_text("{")
    monkeypatch.setenv("CLAPRT_BUNDLE", str(copied))
    assert f"claprt/{copied} (aliases: claprt)" in run("embed-models").output
    monkeypatch.delenv("CLAPRT_BUNDLE")
    assert "(aliases: claprt, claprt-mini)" in run("embed-models").output


def test_fingerprints_are_those_of_the_loaded_models(clap: claprt.Clap, fused_clap: claprt.Clap) -> None:
    for model in (clap, fused_clap):
        assert default_fingerprint(model.manifest) == model.fingerprint
