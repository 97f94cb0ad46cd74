"""Which models `claprt serve` is told of: names, paths, projections, and what is refused."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

pytest.importorskip("uvicorn", reason="needs the service's packages (pip install 'claprt[serve]')")

import claprt
from claprt.cli import main
from claprt.cli.serve_models import load_models, stated_models, take_from_library
from claprt.errors import FingerprintError, OptionError
from tests.cli.test_cli_help import commands
from tests.projected import with_projection


def models(*arguments: str) -> dict[str, tuple[str | None, str | None]]:
    """The bundle and the projection of each name."""
    stated = stated_models(commands()["serve"].parse_args(list(arguments)))
    return {name: (one.bundle, one.projection) for name, one in stated.items()}


def loaded(*arguments: str) -> dict[str, claprt.Clap]:
    options = commands()["serve"].parse_args([*arguments, "--quiet"])
    found = load_models(options, take_from_library(options))
    return {"": found} if isinstance(found, claprt.Clap) else dict(found)


@pytest.mark.parametrize("flag", ["--bundle", "--checkpoint", "--checkpoint-path", "--engine"])
def test_one_is_a_path(flag: str) -> None:
    """Also where it contains `=`, as an address may, and a folder that exists."""
    assert models() == {"": (None, None)}
    for path in ("mini", "/data/a=b", "./a=b", "C:\\models\\a=b", "triton://host:8001?x=y"):
        assert models(flag, path, "--projection", "/x=y") == {"": (path, "/x=y")}


def test_a_folder_that_looks_like_a_name_and_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert models("--bundle", "a=b") == {"a": ("b", None)}
    (tmp_path / "a=b").mkdir()
    assert models("--bundle", "a=b") == {"": ("a=b", None)}
    assert models("--bundle", "c=a=b") == {"c": ("a=b", None)}


def test_several_have_names() -> None:
    given = ["--bundle", "b=one", "--engine", "a=triton://host:8001", "--projection", "a=folder"]
    assert list(models(*given).items()) == [("b", ("one", None)), ("a", ("triton://host:8001", "folder"))]


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--bundle", "a=one", "--bundle", "two"], "--bundle is there 2 times, and two has no name; give NAME=two"),
        (["--bundle", "one", "--engine", "triton://h:1"], "one has no name"),
        (["--bundle", "a=one", "--bundle", "a=two"], "--bundle has the name a twice; one and two each need"),
        (["--bundle", "a="], "--bundle a= is not understood; give a path, or NAME=PATH."),
        (["--bundle", "=one"], "--bundle =one is not understood"),
        (["--bundle", "my model=one"], "A model cannot be served as 'my model'"),
        (["--bundle", "ä=one", "--bundle", "b=two"], "A model cannot be served as 'ä'"),
        (
            ["--bundle", "a=one", "--projection", "folder"],
            "--projection is of one of the models that are served; give a=folder.",
        ),
        (["--bundle", "a=one", "--bundle", "b=two", "--projection", "c=x"], "give a=x or b=x."),
        (["--bundle", "one", "--projection", "a=folder"], "give folder."),
    ],
)
def test_what_is_refused(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Before the port is opened, and by the supervisor of workers too."""
    for workers in ("1", "2"):
        assert main(["serve", "--port", "0", "--workers", workers, *arguments]) == 1
        assert sentence in capsys.readouterr().err


def test_options_are_those_of_all_models(bundle: Path, fused_bundle: Path) -> None:
    claps = loaded("--bundle", f"a={bundle}", "--bundle", f"b={fused_bundle}", "--device", "cpu", "--preprocess", "laion")
    assert [(name, clap.manifest.name, clap.recipe.name, clap.provider) for name, clap in claps.items()] == [
        ("a", "tiny", "laion", "cpu"),
        ("b", claps["b"].manifest.name, "laion", "cpu"),
    ]
    claps = loaded("--bundle", f"a={bundle}", "--only", "text")
    assert claps["a"].recipe.name == "kromosynth"


def test_one_bundle_twice(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(bundle)
    with pytest.raises(OptionError, match=r"a and b are both .*; serve it once, under one name\."):
        loaded("--bundle", f"a={bundle}", "--bundle", f"b={tmp_path / 'link'}")
    copy = shutil.copytree(bundle, tmp_path / "copy")
    assert loaded("--bundle", f"a={bundle}", "--bundle", f"b={copy}").keys() == {"a", "b"}


def test_the_environment_names_one(bundle: Path, fused_bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where no flag does, and as a path."""
    for variable in ("CLAP_CHECKPOINT_PATH", "CLAPRT_BUNDLE"):
        with monkeypatch.context() as patch:
            patch.setenv(variable, str(bundle))
            assert loaded()[""].manifest.name == "tiny"
            assert loaded("--bundle", f"a={fused_bundle}")["a"].manifest.audio.fused


def test_a_projection_of_one(bundle: Path, fused_bundle: Path, tmp_path: Path) -> None:
    folder = with_projection(bundle, tmp_path / "projected")
    claps = loaded("--bundle", f"a={bundle}", "--bundle", f"b={fused_bundle}", "--projection", f"a={folder}")
    assert [clap.has_projection for clap in claps.values()] == [True, False]


def test_a_library_beside_several(bundle: Path, fused_bundle: Path, clap: claprt.Clap, tmp_path: Path) -> None:
    """Its preprocessing is that of all models, and one of them has to give its vectors."""
    pytest.importorskip("numkong", reason="needs the library's packages (pip install 'claprt[library]')")
    from claprt.library.create import index

    (tmp_path / "sounds").mkdir()
    shutil.copy(claprt.sample_path("dog"), tmp_path / "sounds" / "dog.flac")
    index([str(tmp_path / "sounds")], tmp_path / "library", clap, bundle=str(bundle))
    library = ("--library", str(tmp_path / "library"))
    assert loaded(*library)[""].fingerprint == clap.fingerprint
    claps = loaded(*library, "--bundle", f"fused={fused_bundle}", "--bundle", f"plain={bundle}")
    assert claps["plain"].fingerprint == clap.fingerprint
    assert claps["fused"].recipe.name == "laion"
    with pytest.raises(FingerprintError, match="which cannot be compared"):
        loaded(*library, "--bundle", f"fused={fused_bundle}")
