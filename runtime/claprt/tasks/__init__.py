"""Tasks: embedding, zero-shot classification, tagging, similarity."""

from typing import TYPE_CHECKING

from claprt._moved import attribute
from claprt.tasks.functions import Model, classification, classify, embed, loaded, similarity, tag

__all__ = ["Model", "classification", "classify", "embed", "loaded", "similarity", "tag"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return attribute(__name__, name)
