"""An embedding function for Chroma: collections whose documents are texts or paths of sounds.

    import chromadb
    from claprt.integrations.chroma import ClapEmbeddingFunction

    client = chromadb.PersistentClient("folder")
    sounds = client.get_or_create_collection("sounds", embedding_function=ClapEmbeddingFunction("mini"))
    sounds.add(ids=["1"], documents=["dog.wav"])
    sounds.query(query_texts=["a dog barking"])

Chroma compares functions of a collection by name alone. So the name holds the fingerprint: a collection that is opened with
another model is refused, with both.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any

from claprt.arrays import Embedding
from claprt.errors import FingerprintError
from claprt.integrations.libraries import imported
from claprt.integrations.models import Model, describe_model, embed_mixed, get_model

_api = imported("chromadb", "EmbeddingFunction", package="chromadb")
_functions = imported(
    "chromadb.utils.embedding_functions", "known_embedding_functions", "register_embedding_function", package="chromadb"
)


class ClapEmbeddingFunction(_api.EmbeddingFunction):  # pyright: ignore[reportUntypedBaseClass]
    """Chroma's `EmbeddingFunction` of documents."""

    def __init__(self, model: Model = None, fingerprint: str | None = None, **options: Any) -> None:
        """Load a model.

        Args:
            model: What `claprt.load` takes, a loaded model, or None for the default model.
            fingerprint: The fingerprint that it must have; Chroma gives it, from a collection.
            options: Of `claprt.load`, such as `provider` and `precision`.

        Raises:
            FingerprintError: If a collection was made with another model.
            ClaprtError: See `claprt.load`.
        """
        self.model = get_model(model, fingerprint, "The collection", **options)
        self._config = describe_model(self.model, model)
        self.name = partial(str, f"claprt:{self.model.fingerprint}")
        _functions.known_embedding_functions[self.name()] = type(self)

    def __call__(self, input: Any) -> list[Embedding]:  # noqa: A002 - Chroma's name
        """Embed documents: texts, and paths of sounds (strings that end like the name of a sound file).

        Returns:
            [dim] float32 for each.

        Raises:
            OptionError: If a string is neither for certain.
            AudioError: If a sound cannot be embedded.
            TextError: If a text cannot be embedded.
        """
        return list(embed_mixed(self.model, list(input)))

    @staticmethod
    def name() -> str:
        """What a collection stores; of an instance with the fingerprint behind it."""
        return "claprt"

    def default_space(self) -> str:
        """The distance of new collections."""
        return "cosine"

    def supported_spaces(self) -> list[str]:
        """Distances that have a meaning: vectors have length 1, so all order alike."""
        return ["cosine", "l2", "ip"]

    def get_config(self) -> dict[str, Any]:
        """What a collection stores: arguments of `claprt.load`, the fingerprint among them."""
        return dict(self._config)

    @staticmethod
    def build_from_config(config: Mapping[str, Any]) -> ClapEmbeddingFunction:
        """The function of a collection.

        Raises:
            FingerprintError: If the model that its name means now is another.
        """
        return ClapEmbeddingFunction(config["bundle"], **{name: config[name] for name in config if name != "bundle"})

    @staticmethod
    def validate_config(config: Mapping[str, Any]) -> None:
        """Check that it names a model and its fingerprint.

        Raises:
            ValueError: If it does not.
        """
        if missing := {"bundle", "fingerprint"} - config.keys():
            raise ValueError(f"The configuration of claprt's function lacks {', '.join(sorted(missing))}.")

    def validate_config_update(self, old_config: Mapping[str, Any], new_config: Mapping[str, Any]) -> None:
        """Check that a collection keeps its model.

        Raises:
            FingerprintError: If it does not.
        """
        old, new = old_config.get("fingerprint"), new_config.get("fingerprint")
        if old != new:
            raise FingerprintError(f"The collection has vectors of {old}, and those of this model would be of {new}.")


_functions.register_embedding_function(ClapEmbeddingFunction)
