"""The pages about other libraries: their examples run where the library is installed, and every adapter has a page."""

from __future__ import annotations

import importlib.util
import re
import warnings
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import pytest

from claprt.integrations.libraries import TESTED
from tests.pages import ROOT, folder_with_files, run_blocks, text_of

PAGES = {path.name: path for path in sorted((ROOT / "docs").glob("with-*.md"))}
NEEDS = {
    "with-chroma.md": ("chromadb",),
    "with-daft.md": ("daft",),
    "with-datasets.md": ("datasets", "faiss"),
    "with-haystack.md": ("haystack",),
    "with-lancedb.md": ("lancedb",),
    "with-langchain.md": ("langchain_core",),
    "with-llm.md": ("llm",),
    "with-ray.md": ("ray",),
    "with-scikit-learn.md": ("sklearn",),
    "with-sentence-transformers.md": (),
    "with-txtai.md": ("txtai",),
}
"""What a page's examples import."""


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] if name == "with-ray.md" else []) for name in PAGES]
)
@pytest.mark.seconds
def test_examples_run(
    name: str, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for module in NEEDS[name]:
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"needs {module}: make test WHAT=integrations")
    folder_with_files(tmp_path, bundle, empty=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLAPRT_BUNDLE", "bundle")
    with warnings.catch_warnings(action="ignore"):  # of other libraries
        run_blocks(f"docs/{name}", capsys)


def test_every_page_and_adapter_is_listed() -> None:
    overview = text_of("docs/integrations.md")
    assert set(re.findall(r"\((with-[\w-]+\.md)\)", overview)) == PAGES.keys()
    adapters = {path.stem for path in (ROOT / "runtime/claprt/integrations").glob("*.py")} - {
        "__init__",
        "libraries",
        "models",
    }
    imported = set(
        re.findall(
            r"claprt\.integrations\.(\w+)", "".join(map(text_of, [*(f"docs/{page}" for page in PAGES), "docs/evaluate.md"]))
        )
    )
    assert adapters - imported == set()


def test_the_versions_that_were_tested_are_those_that_are_installed_for_it() -> None:
    lines = text_of("constraints-integrations.txt").splitlines()
    pinned = dict(line.split("==") for line in lines if "==" in line)
    assert {name: pinned.get(name) for name in TESTED} == dict(TESTED)
    if "integrations" in str(Path(importlib.util.find_spec("pytest").origin or "")):  # type: ignore[union-attr]
        for name, tested in TESTED.items():
            try:
                assert version(name).partition("+")[0] == tested
            except PackageNotFoundError:
                pytest.fail(f"{name} is not installed")
