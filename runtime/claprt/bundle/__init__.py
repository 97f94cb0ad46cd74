"""The bundle: a folder of graphs, a tokenizer, and the manifest that describes them."""

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
