"""The models of adapters: loaded once in a process, and loaded again from what a library keeps of them."""

from __future__ import annotations

import dataclasses
import inspect
import os
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from claprt.arrays import Embeddings
from claprt.audio.files.folders import is_sound_name
from claprt.audio.long_audio import long_audio_policy
from claprt.audio.preprocess import recipe
from claprt.bundle.fingerprint import fingerprint_of
from claprt.bundle.folder import BUNDLE_VARIABLE, default_bundle
from claprt.bundle.graphs import Precision
from claprt.bundle.manifest import Manifest
from claprt.errors import FingerprintError, OptionError
from claprt.library.own_model import reference
from claprt.model.clap import Clap
from claprt.model.load import load

Model: TypeAlias = "Clap | str | os.PathLike[str] | None"
"""A loaded model, what `claprt.load` takes as `bundle`, or None for the default model."""

_loaded: dict[tuple[object, ...], Clap] = {}
_loading = threading.Lock()


def get_model(model: Model = None, fingerprint: str | None = None, holder: str = "", **options: Any) -> Clap:
    """A model: itself, or loaded once in this process for each set of options.

    Args:
        model: See `Model`.
        fingerprint: The fingerprint that it must have; None for any.
        holder: What has vectors of that fingerprint, for the message, such as `The table`.
        options: Of `claprt.load`, where the model is loaded.

    Raises:
        FingerprintError: If the model has another fingerprint.
        OptionError: If options are given for a model that is loaded already.
        ClaprtError: See `claprt.load`.
    """
    options = {name: value for name, value in options.items() if value is not None}
    clap = model if isinstance(model, Clap) else _load(model, options)
    if clap is model and options:
        named = ", ".join(sorted(options))
        raise OptionError(f"The model is loaded already, so {named} cannot be chosen: give it to claprt.load.")
    if fingerprint is not None and clap.fingerprint != fingerprint:
        raise FingerprintError(
            f"{holder or 'What is there'} has vectors of {fingerprint}, and those of this model would be of "
            f"{clap.fingerprint}. Use the model that made them, or embed everything anew."
        )
    return clap


def _load(model: str | os.PathLike[str] | None, options: Mapping[str, Any]) -> Clap:
    named = default_bundle() if model is None else model
    is_path = isinstance(named, str | os.PathLike) and os.path.exists(named)  # noqa: PTH110 - may be an address
    name = str(Path(named).resolve()) if is_path else str(named)
    usual = {option: one.default for option, one in inspect.signature(load).parameters.items()}
    key = (name, *sorted(item for item in options.items() if item[1] != usual.get(item[0])))
    try:
        hash(key)
    except TypeError:  # headers of a server
        return load(named, lazy=True, **options)
    with _loading:
        if key not in _loaded or _loaded[key].closed:
            _loaded[key] = load(named, lazy=True, **options)
        return _loaded[key]


def describe_model(clap: Clap, model: Model = None) -> dict[str, Any]:
    """What loads a model again, as plain values for JSON: arguments of `claprt.load`, the fingerprint among them.

    Args:
        clap: The model.
        model: How a caller named it; a published name stays as it is, a path is given in full.
    """
    default = os.environ.get(BUNDLE_VARIABLE) or None
    named = None if isinstance(model, Clap) else default if model is None else os.fspath(model)
    facts = dataclasses.asdict(reference(clap, named))
    arguments = {name: facts[name] for name in ("bundle", "precision", "preprocess", "long", "hop_s", "seed")}
    return {**{name: value for name, value in arguments.items() if value is not None}, "fingerprint": clap.fingerprint}


def default_fingerprint(manifest: Manifest) -> str:
    """The fingerprint of a bundle as `claprt.load` loads it where no option is given; nothing is loaded for it."""
    long = long_audio_policy(None, manifest.audio, None, None).label
    return fingerprint_of(manifest, recipe("laion").name, long, Precision.FP32)


def embed_mixed(clap: Clap, items: Sequence[Any], sample_rate: int | None = None) -> Embeddings:
    """Embed texts and sounds of one list.

    A string is a text, unless it ends like the name of a sound file (`dog.wav`): then it is a path. All else is a sound.

    Args:
        clap: The model.
        items: Texts, and sounds as `Clap.embed_audio` takes them.
        sample_rate: Of arrays, in Hz.

    Returns:
        [items, dim] float32, in order.

    Raises:
        OptionError: If a string is neither: the name of a file without the ending of one.
        TextError: If a text is empty.
        AudioError: If a sound cannot be embedded.
    """
    rows = np.empty((len(items), clap.dim), np.float32)
    texts = [at for at, item in enumerate(items) if isinstance(item, str) and is_text(item)]
    sounds = sorted(set(range(len(items))) - set(texts))
    if texts:
        rows[texts] = clap.embed_text([items[at] for at in texts])
    if sounds:
        rows[sounds] = clap.embed_audio([items[at] for at in sounds], sample_rate)
    return rows


def is_text(item: str) -> bool:
    """Whether a string is a text rather than a path.

    Raises:
        OptionError: If that is not certain.
    """
    if is_sound_name(item):
        return False
    if os.sep in item and os.path.isfile(item):  # noqa: PTH113 - it may hold what no path can
        raise OptionError(
            f"{item!r:.200} is a string without the ending of a sound file, and so a text; but there is a file of that "
            "name. Give paths as pathlib.Path."
        )
    return True
