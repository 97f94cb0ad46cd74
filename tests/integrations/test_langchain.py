"""LangChain's own vector store over sounds."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import claprt
from claprt.errors import FingerprintError
from tests.integrations.conftest import QUERY

vectorstores: Any = pytest.importorskip(
    "langchain_core.vectorstores", reason="needs LangChain: make test WHAT=integrations"
)

from claprt.integrations.langchain import ClapEmbeddings  # noqa: E402

pytestmark = [pytest.mark.seconds, pytest.mark.filterwarnings("ignore")]


def test_two_hundred_sounds_are_found_by_text(
    bundle: Path, clap: claprt.Clap, many: list[str], nearest: list[str], tmp_path: Path
) -> None:
    store = vectorstores.InMemoryVectorStore(ClapEmbeddings(bundle))
    store.add_texts(many)
    assert [found.page_content for found in store.similarity_search(QUERY, k=10)] == nearest
    store.dump(str(tmp_path / "store.json"))

    embeddings = ClapEmbeddings(bundle, fingerprint=clap.fingerprint)
    again = vectorstores.InMemoryVectorStore.load(str(tmp_path / "store.json"), embeddings)
    assert [found.page_content for found in again.similarity_search(QUERY, k=10)] == nearest
    with pytest.raises(FingerprintError) as refused:
        ClapEmbeddings(bundle, fingerprint=clap.fingerprint, hop_s=5.0)
    assert f"The store has vectors of {clap.fingerprint}" in str(refused.value)
    assert claprt.load(bundle, hop_s=5.0).fingerprint in str(refused.value)


def test_vectors_are_plain_numbers(clap: claprt.Clap, few: list[str]) -> None:
    embeddings = ClapEmbeddings(clap)
    found = embeddings.embed_documents(["rain", *few])
    assert isinstance(found[0][0], float)
    assert np.allclose(found, np.vstack([clap.embed_text(["rain"]), clap.embed_audio(few)]), atol=1e-6)
    assert np.allclose(asyncio.run(embeddings.aembed_query("rain")), clap.embed_text("rain"), atol=1e-6)
