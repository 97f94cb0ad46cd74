"""A class for `map_batches` of Ray Data: actors with a model each, which add a column of vectors.

    import ray
    from claprt.integrations.ray import ClapEmbedder

    sounds = ray.data.read_binary_files("folder", include_paths=True)
    actors = ray.data.ActorPoolStrategy(size=2)
    embedded = sounds.map_batches(ClapEmbedder, fn_constructor_kwargs={"model": "mini"}, compute=actors, batch_size=64)

Ray is not imported here. Folders of millions of sounds are better indexed by `claprt index --ray`, which goes on where it
was interrupted.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from claprt.errors import OptionError
from claprt.integrations.models import Model, embed_mixed, get_model


class ClapEmbedder:
    """Adds vectors to batches."""

    def __init__(
        self,
        model: Model = None,
        fingerprint: str | None = None,
        column: str = "bytes",
        output: str = "embedding",
        **options: Any,
    ) -> None:
        """Load a model; on each actor, from where the actor finds it.

        Args:
            model: What `claprt.load` takes, or None for the default model.
            fingerprint: The fingerprint that it must have, so that no machine of a cluster has another model.
            column: What is embedded: bytes of sound files, paths (strings that end like the name of a sound file) or texts.
            output: The new column of vectors. The column `{output}_model` has the fingerprint.
            options: Of `claprt.load`, such as `threads` and `provider`.

        Raises:
            FingerprintError: If the model has another fingerprint.
            ClaprtError: See `claprt.load`.
        """
        self.model = get_model(model, fingerprint, "The data set", **options)
        self.column = column
        self.output = output

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Any]:
        """Embed a batch.

        Args:
            batch: Columns as arrays, Ray's `batch_format="numpy"`.

        Returns:
            The same with [rows, dim] float32 and the fingerprint of each row.

        Raises:
            OptionError: If the column is missing.
            AudioError: If a sound cannot be embedded.
            TextError: If a text cannot be embedded.
        """
        if self.column not in batch:
            raise OptionError(f"column={self.column!r} is not among the columns {', '.join(batch)}.")
        rows = embed_mixed(self.model, list(batch[self.column]))
        return {**batch, self.output: rows, f"{self.output}_model": np.full(len(rows), self.model.fingerprint)}
