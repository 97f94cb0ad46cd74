"""What all adapters share: models by name, their descriptions, texts and sounds in one list, and other libraries."""

from __future__ import annotations

import importlib
import json
import sys
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import claprt
from claprt.errors import AudioNotFoundError, BundleNotFoundError, FingerprintError, MissingDependencyError, OptionError
from claprt.integrations.libraries import TESTED, imported
from claprt.integrations.models import describe_model, embed_mixed, get_model


def test_a_model_is_loaded_once_for_each_set_of_options(bundle: Path, clap: claprt.Clap) -> None:
    model = get_model(bundle)
    assert get_model(str(bundle), provider=None) is model
    windows = get_model(bundle, hop_s=5.0)
    assert windows is not model
    assert windows.fingerprint != model.fingerprint
    assert get_model(clap) is clap
    windows.close()
    assert not get_model(bundle, hop_s=5.0).closed
    unnamed: Any = [bundle]
    with pytest.raises(BundleNotFoundError, match="which is not a path"):
        get_model(unnamed)


def test_options_of_a_loaded_model_are_refused(clap: claprt.Clap) -> None:
    with pytest.raises(OptionError, match="loaded already, so hop_s cannot be chosen"):
        get_model(clap, hop_s=5.0)


def test_another_model_is_refused_with_both_fingerprints(
    copied: Path, clap: claprt.Clap, replace_model: Callable[[], str]
) -> None:
    described = describe_model(get_model(copied), copied)
    other = replace_model()
    bundle = described.pop("bundle")
    assert (bundle, described["fingerprint"]) == (str(copied), clap.fingerprint)
    with pytest.raises(FingerprintError) as refused:
        get_model(bundle, holder="The table", **described)
    assert f"The table has vectors of {clap.fingerprint}" in str(refused.value)
    assert other in str(refused.value)


def test_a_description_loads_the_model_again(bundle: Path) -> None:
    with claprt.load(bundle, long="windows", hop_s=5.0) as made:
        described = json.loads(json.dumps(describe_model(made)))
    found = get_model(described.pop("bundle"), **described)
    assert found.fingerprint == made.fingerprint
    with claprt.load("mini", lazy=True) as small:
        assert describe_model(small)["bundle"] == "mini"


def test_a_description_names_a_model_as_its_caller_did(
    bundle: Path, clap: claprt.Clap, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by the folder that its export lies in here."""
    monkeypatch.delenv("CLAPRT_BUNDLE", raising=False)
    assert describe_model(clap)["bundle"] == str(bundle)
    assert describe_model(clap, "630k-audioset-best")["bundle"] == "630k-audioset-best"
    monkeypatch.setenv("CLAPRT_BUNDLE", "630k-audioset-best")
    assert describe_model(clap)["bundle"] == "630k-audioset-best"
    monkeypatch.chdir(bundle.parent)
    assert describe_model(clap, bundle.name)["bundle"] == str(bundle)


def test_texts_and_sounds_in_one_list(clap: claprt.Clap, few: list[str], tmp_path: Path) -> None:
    path = Path(few[1])
    found = embed_mixed(clap, ["a dog", few[0], path, path.read_bytes(), "a cat/dog fight"])
    assert np.allclose(found[[0, 4]], clap.embed_text(["a dog", "a cat/dog fight"]), atol=1e-6)
    assert np.allclose(found[[1, 2, 3]], clap.embed_audio([few[0], path, path]), atol=1e-6)
    assert embed_mixed(clap, []).shape == (0, clap.dim)
    with pytest.raises(AudioNotFoundError):
        embed_mixed(clap, ["the sound of dog.wav"])
    (tmp_path / "dog").write_bytes(path.read_bytes())
    with pytest.raises(OptionError, match="there is a file of that name. Give paths as pathlib.Path"):
        embed_mixed(clap, [str(tmp_path / "dog")])


def test_a_library_that_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingDependencyError, match="nowhere is needed and is not installed: pip install nowhere"):
        imported("nowhere_to_be_found", package="nowhere")
    monkeypatch.setitem(sys.modules, "lancedb", None)
    with pytest.raises(MissingDependencyError, match=r"lancedb .*pip install"):
        imported("lancedb.embeddings", package="lancedb")


@pytest.mark.parametrize(("adapter", "package", "module"), [
    ("chroma", "chromadb", "chromadb"), ("daft", "daft", "daft"), ("haystack", "haystack-ai", "haystack"),
    ("lancedb", "lancedb", "lancedb"), ("langchain", "langchain-core", "langchain_core"), ("llm", "llm", "llm"),
    ("sklearn", "scikit-learn", "sklearn"), ("txtai", "txtai", "txtai"),
])  # fmt: skip
def test_an_adapter_without_its_library(adapter: str, package: str, module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, f"claprt.integrations.{adapter}", raising=False)
    for name in {module, *(name for name in sys.modules if name.startswith(f"{module}."))}:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(MissingDependencyError, match=f"{package} is needed and is not installed: pip install {package}"):
        importlib.import_module(f"claprt.integrations.{adapter}")


def test_a_library_of_another_version(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(MissingDependencyError) as refused:
        imported("json", "no_such_name", package="lancedb")
    tested = f"Tested with lancedb {TESTED['lancedb']}: pip install 'lancedb=={TESTED['lancedb']}'"
    assert str(refused.value).endswith(f"has no no_such_name in json, which is needed. {tested}")
    assert refused.value.name == "json"
    with pytest.raises(MissingDependencyError, match=r"cannot be imported as json\.no_such_module \(No module named"):
        imported("json.no_such_module", package="lancedb")
    monkeypatch.setitem(sys.modules, "odd", types.ModuleType("odd"))  # without a specification
    with pytest.raises(MissingDependencyError, match="lancedb cannot be imported"):
        imported("odd", package="lancedb")
