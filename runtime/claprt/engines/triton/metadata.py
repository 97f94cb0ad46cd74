"""What a server says that it serves, and whether its answers are what a tower gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from claprt.arrays import Array, Embeddings
from claprt.bundle.fingerprint import precision_label
from claprt.bundle.manifest import Manifest, parse_manifest
from claprt.engines.engine import vectors_fault
from claprt.errors import ServerError

AUDIO, TEXT, TOKENIZER = "audio_tower", "text_tower", "tokenizer"
_UNIT = 1e-3
"""How far a vector's length may be from 1."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """What a server says that it serves."""

    manifest: Manifest
    audio_precision: str
    text_precision: str
    versions: Mapping[str, str]
    """Version of each model."""
    max_batch: Mapping[str, int]
    max_texts: int
    build: str
    """Name of the repository's build."""

    @property
    def precision(self) -> str:
        """In one word, as it stands in fingerprints."""
        return precision_label(self.audio_precision, self.text_precision)


def read_served(config: Callable[[str], Mapping[str, Any]], where: str) -> Served:
    """What the models' configurations say.

    Raises:
        ServerError: these are not models that `claprt triton` built.
    """
    found = {name: config(name) for name in (AUDIO, TEXT, TOKENIZER)}
    facts = {
        name: {key: value["string_value"] for key, value in model.get("parameters", {}).items()}
        for name, model in found.items()
    }
    try:
        if len({model["bundle"] for model in facts.values()}) != 1:
            raise ServerError(f"The models on {where} are of different bundles; load or build them again.")
        manifest = parse_manifest(facts[AUDIO]["manifest"].encode(), Path(f"the manifest of {AUDIO} on {where}"))
        return Served(
            manifest=manifest,
            audio_precision=facts[AUDIO]["precision"],
            text_precision=facts[TEXT]["precision"],
            versions={name: str(model["version"]) for name, model in found.items()},
            max_batch={name: int(found[name]["max_batch_size"]) for name in (AUDIO, TEXT)},
            max_texts=int(facts[TOKENIZER]["max_texts"]),
            build=facts[AUDIO]["build"],
        )
    except KeyError as error:
        raise ServerError(
            f"The models on {where} were not built by `claprt triton`: {error.args[0]} is missing."
        ) from error


def is_same(was: Served, now: Served) -> bool:
    """Whether vectors are the same: another build of the same bundle, precision and version gives the same."""
    return replace(now, build=was.build) == was


def changed(where: str, was: Served, now: Served) -> str:
    """What is said of a server that serves something else than it did."""
    return (
        f"{where} served {was.manifest.name} in {was.precision}, version {was.versions[AUDIO]}, and now serves "
        f"{now.manifest.name} in {now.precision}, version {now.versions[AUDIO]}: vectors may be others. Load it anew."
    )


def checked_vectors(vectors: Array | None, rows: int, dim: int, model: str) -> Embeddings:
    """Check a server's reply: a step that fails may answer with zeros or with nothing.

    Args:
        vectors: the reply, None if the output is missing.
        rows: vectors that were requested.
        dim: length of a vector.
        model: the tower that replied, for the message.

    Returns:
        The vectors [rows, dim] float32.

    Raises:
        ServerError: If the reply is not `rows` unit vectors of length `dim`.
    """
    if fault := vectors_fault(vectors, rows, dim):
        raise ServerError(f"{model} answered with {fault}; see the server's log.")
    assert vectors is not None
    lengths = np.linalg.norm(vectors, axis=1)
    if not (np.abs(lengths - 1) < _UNIT).all():
        raise ServerError(f"{model} answered with vectors of length {lengths.min():.3g}, not 1; see the server's log.")
    return vectors
