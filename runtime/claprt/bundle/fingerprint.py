"""What made a vector, in one word."""

from __future__ import annotations

import hashlib

import msgspec

from claprt.bundle.graphs import Precision, Stage
from claprt.bundle.manifest import TOKENIZER_FILE, Manifest


def fingerprint_of(manifest: Manifest, recipe: str, long: str, precision: str) -> str:
    """The checkpoint, recipe, treatment of long clips and precision by name, and a digest of these and the front end.

    The provider is no part of it.

    Args:
        manifest: Of the bundle.
        recipe: Name of the preprocessing.
        long: Label of the treatment of long clips.
        precision: Of the towers, such as `fp32` or `int8+fp32`.
    """
    facts: tuple[object, ...] = (
        manifest.source.sha256, msgspec.json.encode(manifest.audio).decode(), manifest.embedding_dim,
    )  # fmt: skip
    for calibrated in (Precision.INT8, Precision.INT8_SYMMETRIC):  # whose vectors depend on what ranges were taken from
        if str(calibrated) in precision.split("+"):
            graphs = (manifest.graphs[stage].get(calibrated) for stage in (Stage.AUDIO, Stage.TEXT))
            facts += tuple(graph.sha256 for graph in graphs if graph is not None)
    readable = f"{manifest.name}/{recipe}/{long}/{precision}"
    digest = hashlib.sha256(repr((facts, readable)).encode()).hexdigest()
    return f"{readable}/{digest[:12]}"


def text_fingerprint_of(manifest: Manifest, precision: str) -> str:
    """Name what made the vector of a text: checkpoint, tokenizer and precision, with a digest of these.

    Preprocessing of sounds is no part of it, so services that differ in it alone have the same.

    Args:
        manifest: Of the bundle.
        precision: Of the text tower, such as `fp32`.
    """
    facts: tuple[object, ...] = (
        manifest.source.sha256, manifest.files[TOKENIZER_FILE].sha256, manifest.text.max_tokens, manifest.embedding_dim,
    )  # fmt: skip
    if precision in (Precision.INT8, Precision.INT8_SYMMETRIC):
        facts += (manifest.graph(Stage.TEXT, Precision(precision)).sha256,)
    readable = f"{manifest.name}/text/{precision}"
    digest = hashlib.sha256(repr((facts, readable)).encode()).hexdigest()
    return f"{readable}/{digest[:12]}"


def precision_label(audio: str, text: str) -> str:
    """Precision of both towers in one word, as in fingerprints.

    Example:
        >>> precision_label("int8", "int8"), precision_label("int8", "fp32")
        ('int8', 'int8+fp32')
    """
    return str(audio) if audio == text else f"{audio}+{text}"
