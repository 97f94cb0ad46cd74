"""Pipelines of Haystack and indexes of txtai embed, search, and refuse another model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import claprt
from claprt.arrays import Embeddings
from claprt.errors import AudioNotFoundError, FingerprintError, OptionError
from tests.integrations.conftest import QUERY

pytestmark = [pytest.mark.seconds, pytest.mark.filterwarnings("ignore")]


@pytest.fixture
def haystack(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("HAYSTACK_TELEMETRY_ENABLED", "False")
    return pytest.importorskip("haystack", reason="needs Haystack: make test WHAT=integrations")


def test_haystack(
    haystack: Any, copied: Path, clap: claprt.Clap, many: list[str], nearest: list[str], replace_model: Callable[[], str]
) -> None:
    from haystack.components.retrievers.in_memory import (  # pyright: ignore[reportMissingImports]
        InMemoryEmbeddingRetriever,
    )
    from haystack.components.writers import DocumentWriter  # pyright: ignore[reportMissingImports]
    from haystack.document_stores.in_memory import InMemoryDocumentStore  # pyright: ignore[reportMissingImports]

    from claprt.integrations.haystack import ClapDocumentEmbedder, ClapTextEmbedder

    store = InMemoryDocumentStore(embedding_similarity_function="cosine")
    indexing = haystack.Pipeline()
    indexing.add_component("embedder", ClapDocumentEmbedder(copied))
    indexing.add_component("writer", DocumentWriter(store))
    indexing.connect("embedder", "writer")
    documents = [haystack.Document(meta={"file_path": path}) for path in many]
    assert indexing.run({"embedder": {"documents": documents}})["writer"]["documents_written"] == len(many)
    assert documents[0].embedding is None  # copies were made

    def searching() -> Any:
        pipeline = haystack.Pipeline()
        pipeline.add_component("embedder", ClapTextEmbedder(copied))
        pipeline.add_component("retriever", InMemoryEmbeddingRetriever(store, top_k=10))
        pipeline.connect("embedder.embedding", "retriever.query_embedding")
        return pipeline

    found = searching().run({"embedder": {"text": QUERY}})["retriever"]["documents"]
    assert [document.meta["file_path"] for document in found] == nearest
    assert {document.meta["embedding_model"] for document in found} == {clap.fingerprint}

    written = haystack.Pipeline()
    written.add_component("embedder", ClapTextEmbedder(copied))
    stored = written.dumps()
    trusted = {"allowed_modules": ["claprt.integrations.haystack"]}
    again = haystack.Pipeline.loads(stored, **trusted).run({"embedder": {"text": QUERY}})["embedder"]["embedding"]
    assert np.allclose(again, clap.embed_text(QUERY), atol=1e-6)
    other = replace_model()
    with pytest.raises(Exception, match=f"The pipeline has vectors of {clap.fingerprint}") as refused:
        haystack.Pipeline.loads(stored, **trusted).run({"embedder": {"text": QUERY}})
    assert other in str(refused.value)


def test_what_a_document_of_haystack_may_hold(haystack: Any, clap: claprt.Clap, few: list[str]) -> None:
    from haystack.dataclasses import ByteStream  # pyright: ignore[reportMissingImports]

    from claprt.integrations.haystack import ClapDocumentEmbedder

    documents = [
        haystack.Document(blob=ByteStream(Path(few[0]).read_bytes()), content="a caption"),
        haystack.Document(content="rain"),
    ]
    found = ClapDocumentEmbedder(clap).run(documents)["documents"]
    expected = np.stack([clap.embed_audio(few[0]), clap.embed_text("rain")])
    assert np.allclose([document.embedding for document in found], expected, atol=1e-6)
    assert [document.content for document in found] == ["a caption", "rain"]
    with pytest.raises(OptionError, match="nothing to embed"):
        ClapDocumentEmbedder(clap).run([haystack.Document()])
    with pytest.raises(AudioNotFoundError):
        ClapDocumentEmbedder(clap).run([haystack.Document(meta={"file_path": "nowhere"})])


def test_txtai(
    copied: Path, clap: claprt.Clap, many: list[str], vectors: Embeddings, tmp_path: Path, replace_model: Callable[[], str]
) -> None:
    txtai: Any = pytest.importorskip("txtai", reason="needs txtai: make test WHAT=integrations")
    index = txtai.Embeddings(method="claprt.integrations.txtai.ClapVectors", path=str(copied))
    index.index(many)
    words = max(("a tone", "noise", "rain", "a dog", QUERY), key=lambda text: (vectors @ clap.embed_text(text)).max())
    cosines = vectors @ clap.embed_text(words)
    expected = [int(at) for at in np.argsort(-cosines)[:10] if cosines[at] > 0]  # txtai gives no others
    assert len(expected) > 2
    assert [at for at, _ in index.search(words, 10)] == expected
    assert index.search(many[7], 1)[0][0] == 7
    index.save(str(tmp_path / "index"))
    index.close()

    again = txtai.Embeddings()
    again.load(str(tmp_path / "index"))
    assert again.config["fingerprint"] == clap.fingerprint
    found = again.search(words, 10)
    assert [at for at, _ in found] == expected
    assert np.allclose([score for _, score in found], cosines[expected], atol=1e-5)
    again.close()

    other = replace_model()
    for act in (lambda index: index.search(QUERY, 1), lambda index: index.upsert(["rain"])):
        index = txtai.Embeddings()
        index.load(str(tmp_path / "index"))
        with pytest.raises(FingerprintError) as refused:
            act(index)
        assert f"The index has vectors of {clap.fingerprint}" in str(refused.value)
        assert other in str(refused.value)
