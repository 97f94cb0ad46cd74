"""The bundle: a folder of graphs, a tokenizer, and the manifest that describes them.

    manifest       every fact about a bundle, as dataclasses that validate themselves
    inputs         the manifest's entries for what the towers take
    graphs         the manifest's entries for graphs: stages, precisions, tensors, measured quality
    engine_forms   the manifest's entries for what engines run in place of a graph
    metadata       source of the weights, calibration of tags, bounds of numbers
    folder         `Bundle`: reading and verifying the folder
    digests        sha256 of files, and whether a file has changed
    onnx_file      whether an ONNX file holds all its weights
    onnx_graph     nodes and constants of an ONNX file
    fingerprint    everything that determines a vector, in one word
    published      names of published checkpoints
    address        URL of a Triton server, in place of a folder

Imports `system` and below.
"""

from typing import TYPE_CHECKING

from claprt._moved import attribute
from claprt.bundle.digests import sha256_of
from claprt.bundle.folder import (
    BUNDLE_VARIABLE,
    SMALL_MODEL,
    Bundle,
    bundle_folder,
    default_bundle,
    is_shipped,
    read_bundle,
)

__all__ = [
    "BUNDLE_VARIABLE",
    "SMALL_MODEL",
    "Bundle",
    "bundle_folder",
    "default_bundle",
    "is_shipped",
    "read_bundle",
    "sha256_of",
]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return attribute(__name__, name)
