"""Embeddings for LangChain: its vector stores over texts and sounds.

from langchain_core.vectorstores import InMemoryVectorStore
from claprt.integrations.langchain import ClapEmbeddings

store = InMemoryVectorStore(ClapEmbeddings("mini"))
store.add_texts(["dog.wav", "rain.flac"])
store.similarity_search("a dog barking", k=1)
"""

from __future__ import annotations

from typing import Any

from claprt.integrations.libraries import imported
from claprt.integrations.models import Model, embed_mixed, get_model

_embeddings = imported("langchain_core.embeddings", "Embeddings", package="langchain-core")


class ClapEmbeddings(_embeddings.Embeddings):  # pyright: ignore[reportUntypedBaseClass]
    """LangChain's `Embeddings`. A document is a text or the path of a sound: a string that ends like the name of one."""

    def __init__(self, model: Model = None, fingerprint: str | None = None, **options: Any) -> None:
        """Load a model.

        Args:
            model: What `claprt.load` takes, a loaded model, or None for the default model.
            fingerprint: The fingerprint that it must have. LangChain's stores keep nothing of a model, so state it where a
                store outlives the process.
            options: Of `claprt.load`, such as `provider` and `precision`.

        Raises:
            FingerprintError: If the model has another fingerprint.
            ClaprtError: See `claprt.load`.
        """
        self.model = get_model(model, fingerprint, "The store", **options)

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Embed documents.

        Returns:
            [documents][dim], each of length 1.

        Raises:
            OptionError: If a string is neither a text nor a path for certain.
            AudioError: If a sound cannot be embedded.
            TextError: If a text cannot be embedded.
        """
        return embed_mixed(self.model, texts).tolist()

    def embed_query(self, text: str) -> list[float]:
        """Embed what is searched for, a text or the path of a sound: [dim] of length 1."""
        return embed_mixed(self.model, [text])[0].tolist()
