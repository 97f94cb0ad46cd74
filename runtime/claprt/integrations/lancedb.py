"""An embedding function for LanceDB: tables that embed their own sounds and texts, and refuse another model.

    import lancedb
    from lancedb.pydantic import LanceModel, Vector
    from claprt.integrations.lancedb import ClapEmbeddings

    clap = ClapEmbeddings.create(bundle="mini")

    class Sound(LanceModel):
        path: str = clap.SourceField()
        vector: Vector(clap.ndims()) = clap.VectorField()

This module must be imported before such a table is opened: LanceDB finds functions by name among those that are registered.
"""

from __future__ import annotations

from typing import Any, Self

import numpy as np

from claprt.arrays import Embedding
from claprt.integrations.libraries import imported
from claprt.integrations.models import describe_model, embed_mixed, get_model
from claprt.model.clap import Clap

_embeddings = imported("lancedb.embeddings", "EmbeddingFunction", "register", package="lancedb")
_pydantic = imported("pydantic", "PrivateAttr", package="lancedb")


@_embeddings.register("claprt")
class ClapEmbeddings(_embeddings.EmbeddingFunction):  # pyright: ignore[reportUntypedBaseClass]
    """LanceDB's `EmbeddingFunction`; `create`, `SourceField` and `VectorField` are inherited.

    The fields are arguments of `claprt.load`. They are stored with a table, with the fingerprint: where the table is opened
    and the model there is another, whatever needs a vector raises `FingerprintError`.
    """

    bundle: str | None = None
    provider: str | None = None
    precision: str | None = None
    preprocess: str | None = None
    long: str | None = None
    hop_s: float | None = None
    seed: int | None = None
    fingerprint: str | None = None
    max_retries: int = 0
    """Of LanceDB, for services in a network: errors here are the same each time."""
    _model: Clap | None = _pydantic.PrivateAttr(default=None)

    @classmethod
    def create(cls, **kwargs: Any) -> Self:
        """Make a function, and load its model.

        Args:
            kwargs: The fields.

        Raises:
            FingerprintError: If the table that names the model was made with another one.
            ClaprtError: See `claprt.load`.
        """
        made = super().create(**kwargs)
        made.clap()  # not while pydantic checks the fields: it would put its own error around ours
        return made

    def clap(self) -> Clap:
        """The model, loaded."""
        if self._model is None:
            names = ("provider", "precision", "preprocess", "long", "hop_s", "seed")
            options = {name: getattr(self, name) for name in names}
            self._model = get_model(self.bundle, self.fingerprint, "The table", **options)
        return self._model

    def ndims(self) -> int:
        """Length of an embedding."""
        return self.clap().dim

    def compute_query_embeddings(self, query: Any, *_: Any, **options: Any) -> list[Embedding | None]:
        """Embed what is searched for: one text or sound, or a list, [dim] float32 each."""
        return self.compute_source_embeddings(query, **options)

    def compute_source_embeddings(self, source: Any, *_: Any, **options: Any) -> list[Embedding | None]:
        """Embed a column.

        Args:
            source: Texts, paths of sounds (strings that end like the name of one), bytes of sound files: one, a list
                or a column of Arrow.
            options: Of LanceDB; none is used.

        Returns:
            [dim] float32 for each; None for what is null.

        Raises:
            OptionError: If a string is neither a text nor a path for certain.
            AudioError: If a sound cannot be embedded.
            TextError: If a text cannot be embedded.
        """
        del options
        if hasattr(source, "to_pylist"):
            source = source.to_pylist()
        items: list[Any] = list(source) if isinstance(source, list | tuple | np.ndarray) else [source]
        present = [item for item in items if item is not None]
        rows = iter(embed_mixed(self.clap(), present))
        return [None if item is None else next(rows) for item in items]

    def compute_query_embeddings_with_retry(self, *arguments: Any, **options: Any) -> list[Embedding | None]:
        """Embed what is searched for, [dim] float32 each, without LanceDB's wrapping of errors."""
        return self.compute_query_embeddings(*arguments, **options)

    def compute_source_embeddings_with_retry(self, *arguments: Any, **options: Any) -> list[Embedding | None]:
        """Embed a column, [dim] float32 each, without LanceDB's wrapping of errors."""
        return self.compute_source_embeddings(*arguments, **options)

    def safe_model_dump(self) -> dict[str, Any]:
        """What LanceDB stores with a table."""
        return describe_model(self.clap(), self.bundle)
