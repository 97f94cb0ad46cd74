"""Chroma's own collections embed, search, and refuse another model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import claprt
from claprt.arrays import Embeddings
from claprt.errors import AudioNotFoundError, FingerprintError
from tests.integrations.conftest import QUERY

chromadb: Any = pytest.importorskip("chromadb", reason="needs Chroma: make test WHAT=integrations")

from claprt.integrations.chroma import ClapEmbeddingFunction  # noqa: E402

pytestmark = [pytest.mark.seconds, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def reopen(tmp_path: Path) -> Callable[[], Any]:
    """The client of one folder, as a process that begins anew has it."""
    from chromadb.api.shared_system_client import SharedSystemClient  # pyright: ignore[reportMissingImports]

    def client() -> Any:
        SharedSystemClient.clear_system_cache()
        settings = chromadb.Settings(anonymized_telemetry=False, allow_reset=False)
        return chromadb.PersistentClient(str(tmp_path / "chroma"), settings=settings)

    return client


def test_two_hundred_sounds_are_found_by_text(
    copied: Path, clap: claprt.Clap, many: list[str], vectors: Embeddings, nearest: list[str], reopen: Callable[[], Any],
    replace_model: Callable[[], str],
) -> None:  # fmt: skip
    sounds = reopen().create_collection("sounds", embedding_function=ClapEmbeddingFunction(copied))
    sounds.add(ids=[str(number) for number in range(len(many))], documents=many)

    function = ClapEmbeddingFunction(copied)
    assert function.name() == f"claprt:{clap.fingerprint}"
    for again in (
        reopen().get_or_create_collection("sounds", embedding_function=function),
        reopen().get_collection("sounds"),  # the function that it stores
    ):
        hits = again.query(query_texts=[QUERY], n_results=10)
        assert hits["documents"][0] == nearest
        cosines = vectors @ clap.embed_text(QUERY)
        assert np.allclose(1 - np.array(hits["distances"][0]), sorted(cosines)[::-1][:10], atol=1e-5)
    assert np.allclose(again.get("7", include=["embeddings"])["embeddings"][0], vectors[7], atol=1e-6)

    other = replace_model()
    for open_it in (
        lambda: reopen().get_or_create_collection("sounds", embedding_function=ClapEmbeddingFunction(copied)),
        lambda: reopen().get_collection("sounds", embedding_function=ClapEmbeddingFunction(copied)),
        lambda: reopen().get_collection("sounds").query(query_texts=[QUERY]),
    ):
        with pytest.raises(ValueError, match=clap.fingerprint) as refused:  # Chroma's own, with what ours says
            open_it()
        assert other in str(refused.value)


def test_the_model_of_a_collection_cannot_be_changed(bundle: Path, clap: claprt.Clap) -> None:
    function, other = ClapEmbeddingFunction(bundle), ClapEmbeddingFunction(bundle, hop_s=5.0)
    function.validate_config_update(function.get_config(), function.get_config())
    with pytest.raises(FingerprintError) as refused:
        function.validate_config_update(function.get_config(), other.get_config())
    assert clap.fingerprint in str(refused.value)
    assert other.model.fingerprint in str(refused.value)
    again = ClapEmbeddingFunction.build_from_config(other.get_config())
    assert again.model is other.model
    with pytest.raises(ValueError, match="lacks bundle"):
        ClapEmbeddingFunction.validate_config({"fingerprint": "x"})


def test_a_sound_that_cannot_be_embedded_adds_nothing(bundle: Path, few: list[str], reopen: Callable[[], Any]) -> None:
    sounds = reopen().create_collection("sounds", embedding_function=ClapEmbeddingFunction(bundle))
    with pytest.raises(AudioNotFoundError):
        sounds.add(ids=["0", "1"], documents=[few[0], "nowhere.wav"])
    assert sounds.count() == 0
    assert sounds.configuration["hnsw"]["space"] == "cosine"
