"""Which model a function means that is given one, a name, or nothing; what was named is loaded once and kept."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import TypeAlias

from claprt.bundle.address import is_address
from claprt.bundle.folder import default_bundle
from claprt.model.clap import Clap
from claprt.model.load import load

Model: TypeAlias = "Clap | str | os.PathLike[str] | None"
"""A loaded model, a bundle's folder, a server's address, or None for the model that ships with the package."""

_loaded: dict[Path | str, Clap] = {}
_loading = threading.Lock()


def resolve_model(model: Model = None) -> Clap:
    """The model that is meant: itself, or loaded once, from whatever `claprt.load` takes, and kept."""
    if isinstance(model, Clap):
        return model
    from claprt.checkpoints.resolve import find_bundle

    named = default_bundle() if model is None else model
    path = named if is_address(named) else find_bundle(named)
    key = path.resolve() if isinstance(path, Path) else str(path)
    with _loading:
        if key not in _loaded or _loaded[key].closed:
            _loaded[key] = load(path)
        return _loaded[key]
