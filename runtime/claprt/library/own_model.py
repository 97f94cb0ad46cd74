"""The model of a library: how its manifest names it, and how it is loaded again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from claprt.bundle.folder import is_shipped
from claprt.errors import FingerprintError
from claprt.library.manifest import ModelReference
from claprt.library.store import Store
from claprt.model.clap import Clap

_SMALL = "mini"


def reference(clap: Clap, bundle: str | None) -> ModelReference:
    """What loads a model again.

    Args:
        clap: The model.
        bundle: What `claprt.load` was given to load it; by default its folder.
    """
    made = clap.loaded_from
    seed, hop_s, long = made.get("seed"), made.get("hop_s"), made.get("long")
    return ModelReference(
        bundle=_named(str(made.get("bundle", clap.manifest.name)), bundle),
        name=clap.manifest.name,
        checkpoint_sha256=clap.manifest.source.sha256,
        precision=made.get("precision"),
        preprocess=clap.recipe.name,
        long=None if long is None else str(long),
        hop_s=hop_s,
        seed=seed,
    )


def _named(loaded_from: str, given: str | None) -> str:
    """What names a model wherever the library is: a published name as it is, a path in full."""
    if given is not None:
        return os.path.abspath(given) if os.path.exists(given) else given  # noqa: PTH100, PTH110
    return _SMALL if is_shipped(Path(loaded_from)) else loaded_from


def load_own_model(store: Store, bundle: str | os.PathLike[str] | None, options: Mapping[str, Any]) -> Clap:
    """Load the model that made a library; its audio tower when that is first used.

    Args:
        store: The library.
        bundle: The model, where it is not to be loaded from where the manifest says.
        options: Further arguments of `claprt.load`, such as `provider` and `threads`.

    Raises:
        BundleError: If it cannot be found.
        FingerprintError: If the model that is there now makes other vectors.
    """
    from claprt.model.load import load

    made_by, fingerprint = store.manifest.model, store.manifest.fingerprint
    try:
        return load(
            made_by.bundle if bundle is None else bundle,
            precision=made_by.precision,
            preprocess=made_by.preprocess,
            long=made_by.long,
            hop_s=made_by.hop_s,
            seed=made_by.seed,
            fingerprint=fingerprint,
            lazy=True,  # a search for words alone needs no audio tower
            **options,
        )
    except FingerprintError as error:
        raise FingerprintError(
            f"The library at {store.folder} holds vectors of {fingerprint}. {error} Name the model that made it (bundle=), "
            "or index the sounds into a new library."
        ) from error
