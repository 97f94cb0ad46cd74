"""A vectors backend for txtai: indexes of texts and sounds, which refuse another model.

from txtai import Embeddings

index = Embeddings(method="claprt.integrations.txtai.ClapVectors", path="mini")
index.index(["dog.wav", "rain.flac"])
index.search("a dog barking", 1)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from claprt.arrays import Embeddings
from claprt.integrations.libraries import imported
from claprt.integrations.models import embed_mixed, get_model

_base = imported("txtai.vectors", "Vectors", package="txtai")


class ClapVectors(_base.Vectors):  # pyright: ignore[reportUntypedBaseClass]
    """txtai's `Vectors`. `path` names the model, the dictionary `vectors` holds further options of `claprt.load`.

    The fingerprint is put into the index's configuration, which txtai saves with it.
    """

    def loadmodel(self, path: str) -> None:
        """Load nothing yet: txtai would replace an error here by one of its own that does not say what is wrong."""

    def encode(self, data: Sequence[Any], category: str | None = None) -> Embeddings:  # noqa: ARG002 - txtai's signature
        """Embed texts and sounds.

        Args:
            data: Texts, paths of sounds (strings that end like the name of one), and other sounds.
            category: Of txtai: `query` or `data`, which are embedded alike.

        Returns:
            [data, dim] float32 of length 1.

        Raises:
            FingerprintError: If the index was made with another model.
            OptionError: If a string is neither a text nor a path for certain.
            AudioError: If a sound cannot be embedded.
            TextError: If a text cannot be embedded.
        """
        clap = get_model(
            self.config.get("path"), self.config.get("fingerprint"), "The index", **self.config.get("vectors", {})
        )
        self.config["fingerprint"] = clap.fingerprint
        return embed_mixed(clap, data)
