"""Files for contributors and releases: one version everywhere, and paths, verbs and versions that exist."""

from __future__ import annotations

import importlib
import importlib.util
import re
import subprocess
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

import claprt

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
EXPORTER = tomllib.loads((ROOT / "export" / "pyproject.toml").read_text(encoding="utf-8"))
_ROOT_DOCUMENTS = ("README.md", "CONTRIBUTING.md", "SECURITY.md")
DOCUMENTS = [*_ROOT_DOCUMENTS, *(f"docs/{path.name}" for path in sorted((ROOT / "docs").glob("*.md")))]
WORKFLOWS = sorted((ROOT / ".github" / "workflows").glob("*.yml"))


def text_of(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def test_the_version_is_stated_once_in_the_code() -> None:
    stated = [
        path.relative_to(ROOT).as_posix()
        for root in ("runtime", "export")
        for path in (ROOT / root).rglob("*.py")
        if re.search(
            r"^(__version__|VERSION|_VERSION) *(:[^=]*)?= *['\"]\d", path.read_text(encoding="utf-8"), re.MULTILINE
        )
    ]
    assert stated == ["runtime/claprt/_version.py"]
    for folder, project in (("", PROJECT), ("export", EXPORTER)):
        assert (ROOT / folder / project["tool"]["hatch"]["version"]["path"]).resolve() == ROOT / stated[0]
        assert "version" not in project["project"]
        assert "version" in project["project"]["dynamic"]


def test_the_distributions_require_each_other_in_that_version() -> None:
    assert PROJECT["project"]["optional-dependencies"]["export"] == [f"claprt-export=={claprt.__version__}"]
    assert [one for one in EXPORTER["project"]["dependencies"] if one.startswith("claprt")] == [
        f"claprt=={claprt.__version__}"
    ]
    for field in ("license", "requires-python", "authors"):
        assert EXPORTER["project"][field] == PROJECT["project"][field]
    assert text_of("export/LICENSE") == text_of("LICENSE")


def test_the_installed_packages_have_that_version() -> None:
    assert version("claprt") == claprt.__version__
    if importlib.util.find_spec("torch") is not None:
        assert version("claprt-export") == claprt.__version__


def test_the_citation_has_that_version() -> None:
    assert re.findall(r"^version: (.+)$", text_of("CITATION.cff"), re.MULTILINE) == [claprt.__version__]
    (licence,) = re.findall(r"^license: (.+)$", text_of("CITATION.cff"), re.MULTILINE)
    assert licence == PROJECT["project"]["license"]


def test_the_changelog_begins_with_what_is_not_released() -> None:
    """Then come releases, newest first; the newest is the version of the code."""
    first, *released = re.findall(r"^## \[(.+?)\](?: - \d{4}-\d\d-\d\d)?$", text_of("CHANGELOG.md"), re.MULTILINE)
    assert first == "Unreleased"
    if released:
        assert released[0] == claprt.__version__
        numbers = [tuple(map(int, number.split("."))) for number in released]
        assert numbers == sorted(numbers, reverse=True)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_paths_and_verbs_of_the_documents_exist(name: str) -> None:
    """Paths of the repository in backticks, but those that a build makes; and what follows `make`."""
    tops = {path.name for path in ROOT.iterdir()} - {"build", "dist"}
    words = re.findall(r"`([\w./*-]+)`", text_of(name))
    paths = [word for word in words if "/" in word and word.split("/")[0] in tops and not word.startswith(".venv")]
    paths += [
        word
        for word in words
        if re.fullmatch(r"[A-Z]+\.(md|cff)|(pyproject|constraints[\w-]*)\.(toml|txt)|\.[\w-]+\.yaml", word)
    ]
    assert [path for path in paths if not any(ROOT.glob(path))] == []
    verbs = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    named = re.findall(r"(?:`|^    )make ([a-z -]+?)(?=[`;]| [A-Z]|  |$)", text_of(name), re.MULTILINE)
    assert {verb for words in named for verb in words.split() if not verb.startswith("--")} - verbs == set()


@pytest.mark.parametrize("name", DOCUMENTS)
def test_modules_and_names_of_the_documents_exist(name: str) -> None:
    """All in backticks, or behind `:::`, that looks like a name of the packages."""
    for word in re.findall(r"(?:`|^::: )(claprt(?:_export)?(?:\.\w+)+)", text_of(name), re.MULTILINE):
        try:
            resolve(word)
        except ImportError as error:  # of an extra, or a library with an adapter, that is not installed
            missing = error.name or ""
            assert missing == "claprt_export" or missing.split(".")[0] not in ("claprt", "claprt_export"), word


def resolve(word: str) -> None:
    """Get what a dotted name names, importing the modules in it.

    Raises:
        ModuleNotFoundError: If a module in it, or one that such a module imports, does not exist.
    """
    top, *parts = word.split(".")
    path, found = top, importlib.import_module(top)
    for part in parts:
        path += f".{part}"
        found = getattr(found, part) if hasattr(found, part) else importlib.import_module(path)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_workflows(workflow: Path) -> None:
    """Actions are fixed by commit with the version beside it, verbs exist, and nothing may write but where it publishes."""
    text = workflow.read_text(encoding="utf-8")
    used = re.findall(r"uses: (.+)$", text, re.MULTILINE)
    assert used
    for action in used:
        assert action.startswith("./") or re.fullmatch(r"[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+", action), action
    verbs = set(re.findall(r"^([a-z-]+):", text_of("Makefile"), re.MULTILINE))
    assert set(re.findall(r"run: make ([a-z-]+)", text)) <= verbs
    assert re.search(r"^permissions:\n  contents: read\n", text, re.MULTILINE)
    assert set(re.findall(r"^ +([a-z-]+): write\b", text, re.MULTILINE)) <= {"id-token"}
    assert ("id-token: write" in text) == (workflow.name == "release.yml")


@pytest.mark.skipif(not WORKFLOWS, reason="needs the repository")
def test_every_python_that_is_promised_is_tested() -> None:
    (listed,) = re.findall(r"python: (\[.+\])", text_of(".github/workflows/tests.yml"))
    tested = set(re.findall(r"3\.\d+", listed))
    promised = {
        minor
        for classifier in PROJECT["project"]["classifiers"]
        if (minor := classifier.removeprefix("Programming Language :: Python :: ")) != classifier and "." in minor
    }
    assert promised <= tested
    assert PROJECT["project"]["requires-python"].removeprefix(">=") in promised & tested


@pytest.mark.skipif(not (ROOT / ".pre-commit-config.yaml").is_file(), reason="needs the repository")
def test_the_hooks_have_the_versions_of_the_constraints() -> None:
    hooks = dict(re.findall(r"repo: \S+/([\w-]+)\n    rev: v?([\d.]+)$", text_of(".pre-commit-config.yaml"), re.MULTILINE))
    fixed = dict(re.findall(r"^([\w-]+)==([\d.]+)$", text_of("constraints.txt"), re.MULTILINE))
    for package in ("ruff", "check-jsonschema", "zizmor"):
        hook = package if package in hooks else f"{package}-pre-commit"
        assert hooks[hook] == fixed[package], package


def test_the_sdist_has_all_that_its_tests_need() -> None:
    """Every file and folder of the repository but CI's own; the four that a build adds by itself are not listed."""
    done = subprocess.run(["git", "ls-files"], cwd=ROOT, check=False, capture_output=True, text=True)
    tops = {name.split("/")[0] for name in done.stdout.splitlines()}
    if "pyproject.toml" not in tops:
        pytest.skip("needs the repository, with git")
    patterns: list[str] = PROJECT["tool"]["hatch"]["build"]["targets"]["sdist"]["include"]
    added = {"pyproject.toml", "README.md", "LICENSE", ".gitignore"}
    assert {
        top for top in tops - added - {".ci"} if not any(Path(f"/{top}").match(pattern) for pattern in patterns)
    } == set()
    assert [pattern for pattern in patterns if not any(Path(f"/{top}").match(pattern) for top in tops)] == []
