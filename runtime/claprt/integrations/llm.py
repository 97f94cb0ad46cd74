"""A plug-in for the command `llm` (and its Python API): embedding models for texts and for sound files as bytes.

    llm embed-multi sounds --files folder '*.wav' --binary -m claprt
    llm similar sounds -c "a dog barking"

llm finds it by the entry point `llm` of this package. A collection stores the id of its model, which holds the fingerprint,
and llm embeds with no other: where the model is gone, it says that the model is unknown.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from claprt.bundle.folder import BUNDLE_VARIABLE, bundle_folder, read_bundle
from claprt.bundle.manifest import MANIFEST_FILE
from claprt.errors import ClaprtError
from claprt.integrations.libraries import imported
from claprt.integrations.models import default_fingerprint, get_model

_llm = imported("llm", "EmbeddingModel", "hookimpl", package="llm")

_SMALL = "mini"


class ClapModel(_llm.EmbeddingModel):  # pyright: ignore[reportUntypedBaseClass]
    """llm's `EmbeddingModel`."""

    supports_text = True
    supports_binary = True
    batch_size = 64

    def __init__(self, bundle: str, fingerprint: str | None) -> None:
        """Name a model; it is loaded when it is first used.

        Args:
            bundle: What `claprt.load` takes.
            fingerprint: The fingerprint that it must have; None where its name says enough, as of published checkpoints.
        """
        self.model_id = f"claprt/{fingerprint or bundle}"
        self._bundle = bundle
        self._fingerprint = fingerprint

    def embed_batch(self, items: Iterable[str | bytes], *, key: str | None = None) -> Iterator[list[float]]:
        """Embed texts, and sound files as bytes.

        Args:
            items: Both may be in one batch.
            key: Of llm, for services; none is needed.

        Yields:
            [dim] numbers of length 1, in order.

        Raises:
            ClickException: If one cannot be embedded, or the model not be loaded: a sentence without a traceback.
        """
        del key
        listed = list(items)
        try:
            clap = get_model(self._bundle, self._fingerprint, "The collection")
            texts = iter(clap.embed_text([item for item in listed if isinstance(item, str)]))
            sounds = iter(clap.embed_audio([item for item in listed if not isinstance(item, str)]))
        except ClaprtError as error:
            raise imported("click", "ClickException", package="llm").ClickException(str(error)) from error
        for item in listed:
            yield next(texts if isinstance(item, str) else sounds).tolist()


@_llm.hookimpl
def register_embedding_models(register: Callable[..., Any]) -> None:
    """Register `claprt`, the model that `CLAPRT_BUNDLE` names or else the small one, and `claprt-mini`, the small one."""
    named = os.environ.get(BUNDLE_VARIABLE) or _SMALL
    if named != _SMALL:
        register(_model(named), aliases=("claprt",))
    register(_model(_SMALL), aliases=("claprt", "claprt-mini") if named == _SMALL else ("claprt-mini",))


def _model(named: str) -> ClapModel:
    """The model of a name. Nothing is loaded, exported or downloaded: this runs with every command of llm on embeddings."""
    fingerprint: str | None = None
    if "://" not in named and ((folder := bundle_folder(named)) / MANIFEST_FILE).is_file():
        with contextlib.suppress(ClaprtError):  # said when it is used
            fingerprint = default_fingerprint(read_bundle(folder).manifest)
    return ClapModel(named, fingerprint)
