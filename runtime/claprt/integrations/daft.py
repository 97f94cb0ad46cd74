"""A function for expressions of Daft: a column of vectors from a column of sounds or texts.

import daft
from claprt.integrations.daft import clap_embedder

embed = clap_embedder("mini")
sounds = daft.from_pydict({"path": ["dog.wav", "rain.flac"]})
sounds = sounds.with_column("embedding", embed(sounds["path"]))
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from claprt.errors import OptionError
from claprt.integrations.libraries import imported
from claprt.integrations.models import Model, describe_model, embed_mixed, get_model
from claprt.model.clap import Clap

_daft = imported("daft", "DataType", "Series", "cls", "method", package="daft")


def clap_embedder(
    model: Model = None, fingerprint: str | None = None, *, batch_size: int = 64, gpus: float = 0, **options: Any
) -> Callable[[Any], Any]:
    """Make the function.

    Args:
        model: What `claprt.load` takes, or None for the default model. Processes and machines that Daft runs it on load it
            anew from there, and check that it has this fingerprint.
        fingerprint: The fingerprint that it must have.
        batch_size: Rows that are embedded at a time.
        gpus: Of each process.
        options: Of `claprt.load`, such as `provider` and `precision`; in those processes too.

    Returns:
        A function from an expression (texts, paths of sounds as strings that end like the name of one, or bytes of sound
        files) to one of `Embedding[float32, dim]`; null stays null.

    Raises:
        OptionError: If a model that claprt.load did not make is given.
        FingerprintError: If the model has another fingerprint.
        ClaprtError: See `claprt.load`.
    """
    clap = get_model(model, fingerprint, "The table", **options)
    if clap.load_again is None:
        raise OptionError("Daft needs a model that claprt.load has made, so that each of its processes can load it.")
    kind = _daft.DataType.embedding(_daft.DataType.float32(), clap.dim)

    class ClapEmbedder:
        """What Daft makes an instance of, in each process."""

        def __init__(self, bundle: str, fingerprint: str, **options: Any) -> None:
            self.clap: Clap = get_model(bundle, fingerprint, "The table", **options)

        @_daft.method.batch(return_dtype=kind, batch_size=batch_size)
        def embed(self, items: Any) -> Any:
            listed = items.to_pylist()
            rows = iter(embed_mixed(self.clap, [item for item in listed if item is not None]))
            vectors = [None if item is None else next(rows) for item in listed]
            return _daft.Series.from_pylist(vectors, name=items.name(), dtype=kind)

    return _daft.cls(ClapEmbedder, gpus=gpus)(**{**options, **describe_model(clap, model)}).embed
