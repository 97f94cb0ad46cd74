"""Components for pipelines of Haystack: one that embeds documents, of sounds or texts, and one that embeds queries.

from haystack import Document
from claprt.integrations.haystack import ClapDocumentEmbedder, ClapTextEmbedder

documents = ClapDocumentEmbedder("mini").run([Document(meta={"file_path": "dog.wav"})])["documents"]
query = ClapTextEmbedder("mini").run("a dog barking")["embedding"]
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

from claprt.errors import OptionError
from claprt.integrations.libraries import imported
from claprt.integrations.models import Model, describe_model, embed_mixed, get_model
from claprt.model.clap import Clap

_haystack = imported("haystack", "Document", "component", "default_to_dict", package="haystack-ai")
_component: Any = _haystack.component
Document: Any = _haystack.Document


class _Embedder:
    """What both have: a model that is loaded by `warm_up` or when it is first used, and goes into a pipeline's file."""

    def __init__(self, model: Model = None, fingerprint: str | None = None, **options: Any) -> None:
        """Name a model.

        Args:
            model: What `claprt.load` takes, a loaded model, or None for the default model.
            fingerprint: The fingerprint that it must have; a pipeline's file states it.
            options: Of `claprt.load`, such as `provider` and `precision`.
        """
        self._named = model
        self._fingerprint = fingerprint
        self._options = options

    def warm_up(self) -> None:
        """Load the model.

        Raises:
            FingerprintError: If it has another fingerprint.
            ClaprtError: See `claprt.load`.
        """
        self.clap()

    def clap(self) -> Clap:
        """The model, loaded."""
        return get_model(self._named, self._fingerprint, "The pipeline", **self._options)

    def to_dict(self) -> dict[str, Any]:
        """For a pipeline's file: arguments that load the same model, or none."""
        described = describe_model(self.clap(), self._named)
        return _haystack.default_to_dict(self, model=described.pop("bundle"), **described)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """From a pipeline's file."""
        return cls(**data["init_parameters"])


@_component
class ClapTextEmbedder(_Embedder):
    """Haystack's text embedder, for queries."""

    @_component.output_types(embedding=list[float])
    def run(self, text: str) -> dict[str, list[float]]:
        """Embed a query.

        Args:
            text: A text, or the path of a sound: a string that ends like the name of one.

        Returns:
            `embedding`, [dim] of length 1.

        Raises:
            FingerprintError: If the model has another fingerprint than the pipeline's file states.
            AudioError: If a sound cannot be embedded.
            TextError: If the text cannot be embedded.
        """
        return {"embedding": embed_mixed(self.clap(), [text])[0].tolist()}


@_component
class ClapDocumentEmbedder(_Embedder):
    """Haystack's document embedder.

    A document's sound is its `blob`, else the file that `meta["file_path"]` names; where there is neither, its content is
    embedded, as a text.
    """

    @_component.output_types(documents=list[Document])
    def run(self, documents: list[Any]) -> dict[str, list[Any]]:
        """Embed documents.

        Returns:
            `documents`: copies with `embedding`, [dim] of length 1, and `meta["embedding_model"]`, the model's fingerprint.

        Raises:
            OptionError: If a document has neither a sound nor a content.
            FingerprintError: If the model has another fingerprint than the pipeline's file states.
            AudioError: If a sound cannot be embedded.
            TextError: If a text cannot be embedded.
        """
        clap = self.clap()
        rows = embed_mixed(clap, [_what_is_embedded(document) for document in documents])
        return {
            "documents": [
                replace(document, embedding=row.tolist(), meta={**document.meta, "embedding_model": clap.fingerprint})
                for document, row in zip(documents, rows, strict=True)
            ]
        }


def _what_is_embedded(document: Any) -> Any:
    """The text or the sound of a document.

    Raises:
        OptionError: If it has none.
    """
    if document.blob is not None:
        return document.blob.data
    if document.meta.get("file_path"):
        return Path(document.meta["file_path"])
    if not document.content:
        raise OptionError(f"The document {document.id} has neither blob, meta['file_path'] nor content: nothing to embed.")
    return document.content
