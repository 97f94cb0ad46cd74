"""Reference implementations, checkpoints in their formats, bundles exported from them, and the table of what came out."""

from __future__ import annotations

import importlib.util
import json
import os
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import SHARED


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table that a parity run ends with."""

    what: str
    bar: str
    measured: str


_ROWS: list[Row] = []


class Scorer:
    """Collects the worst of many comparisons and states it beside its bar."""

    def __init__(self, what: str) -> None:
        self.what = what
        self.cosine, self.difference, self.cases = 1.0, 0.0, 0

    def compare(self, found: Any, expected: Any) -> None:
        """Adds one or more rows."""
        found, expected = (np.atleast_2d(np.asarray(array, np.float64)) for array in (found, expected))
        assert found.shape == expected.shape
        assert np.isfinite(found).all()
        lengths = np.linalg.norm(found, axis=1) * np.linalg.norm(expected, axis=1)
        self.cosine = min(self.cosine, float(((found * expected).sum(1) / lengths).min()))
        self.difference = max(self.difference, float(np.abs(found - expected).max()))
        self.cases += len(found)

    def settle(self, *, cosine: float, difference: float | None = None) -> None:
        """Writes the row and asserts the bar."""
        bar = f"cosine ≥ {cosine}" + ("" if difference is None else f", max abs ≤ {difference:g}")
        measured = f"cosine {self.cosine:.9f}, max abs {self.difference:.2e} ({self.cases} vectors)"
        _ROWS.append(Row(what=self.what, bar=bar, measured=measured))
        assert self.cases > 0
        assert self.cosine >= cosine
        assert difference is None or self.difference <= difference


@pytest.fixture
def score() -> type[Scorer]:
    """`score("what")` starts a row of the table."""
    return Scorer


@pytest.fixture
def record() -> Any:
    """`record(what, bar, measured)` adds a row of the table that has no vectors."""

    def add(what: str, bar: str, measured: str) -> None:
        _ROWS.append(Row(what=what, bar=bar, measured=measured))

    return add


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The references warn about their own dependencies; that is theirs to mend."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.filterwarnings("default"))


def _write_results(out: Path) -> None:
    """The rows for `benchmarks/table.py`, with the versions that they were measured with."""
    packages = ("laion-clap", "transformers", "torch", "onnxruntime", "numpy", "soxr", "soundfile")
    versions = {package: version(package) for package in packages if importlib.util.find_spec(package.replace("-", "_"))}
    rows = sorted((asdict(row) for row in _ROWS), key=lambda row: row["what"])
    out.write_text(json.dumps({"versions": versions, "rows": rows}, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """Prints the table."""
    if not _ROWS:
        return
    terminalreporter.section("parity")
    if out := os.environ.get("CLAPRT_PARITY_OUT"):
        _write_results(Path(out))
    wide = max(len(row.what) for row in _ROWS)
    bars = max(len(row.bar) for row in _ROWS)
    for row in _ROWS:
        terminalreporter.write_line(f"{row.what:{wide}}  {row.bar:{bars}}  {row.measured}")


@pytest.fixture(scope="session")
def laion() -> Any:
    """The reference helpers; tests that need them skip where laion-clap is not installed."""
    for package in ("laion_clap", "transformers", "torchvision"):
        if importlib.util.find_spec(package) is None:
            pytest.skip(f"needs {package}: `make parity` installs it into .venv-reference")
    from tests.parity import reference

    return reference


@pytest.fixture(scope="session")
def roberta() -> Path | None:
    """Folder of the RoBERTa tokenizer, if the shared data is there."""
    folder = SHARED / "roberta-base"
    return folder if folder.is_dir() else None


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A reference with its weights, and the bundle that was exported from its checkpoint."""

    reference: Any
    bundle: Path
    fused: bool


class Exports:
    """Exports each reference once a session, when it is first asked for."""

    def __init__(self, laion: Any, folder: Path, tokenizer: Path | None) -> None:
        self._laion, self._folder, self._tokenizer = laion, folder, tokenizer
        self._made: dict[str, Exported] = {}

    def of_laion(self, amodel: str, *, fused: bool = False) -> Exported:
        """A laion-clap model, saved as LAION publishes it, read back by laion-clap and exported from the same file."""
        key = f"{amodel}{'-fused' if fused else ''}"
        if key not in self._made:
            module = self._laion.laion_module(amodel, fused=fused, tokenizer=self._tokenizer)
            self._laion.enliven(module.model, seed=len(self._made))
            path = self._folder / f"{key}.pt"
            self._laion.save_published(module, path)
            self._laion.load_published(module, path)
            self._made[key] = self._exported(module, path, fused)
        return self._made[key]

    def of_transformers(self, *, fused: bool) -> Exported:
        """A `ClapModel` with its feature extractor, saved with `save_pretrained` and exported from that folder."""
        key = f"transformers{'-fused' if fused else ''}"
        if key not in self._made:
            folder = self._folder / key
            model = self._laion.transformers_model(folder, fused=fused, seed=7)
            self._made[key] = self._exported(model, folder, fused)
        return self._made[key]

    def _exported(self, reference: Any, checkpoint: Path, fused: bool) -> Exported:
        from claprt_export.checkpoints.tokenizer import byte_level_tokenizer
        from claprt_export.pipeline import export_bundle

        tokenizer = self._tokenizer
        if tokenizer is None:
            tokenizer = self._folder / "tokenizer.json"
            byte_level_tokenizer().save(str(tokenizer))
        bundle = self._folder / f"{checkpoint.name}.bundle"
        export_bundle(bundle, checkpoint=checkpoint, tokenizer=tokenizer)
        return Exported(reference=reference, bundle=bundle, fused=fused)


@pytest.fixture(scope="session")
def exports(laion: Any, tmp_path_factory: pytest.TempPathFactory, roberta: Path | None) -> Exports:
    """Exports of reference models."""
    return Exports(laion, tmp_path_factory.mktemp("checkpoints"), roberta)
