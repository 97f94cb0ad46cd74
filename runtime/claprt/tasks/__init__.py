"""Tasks: embedding, zero-shot classification, tagging, similarity."""

from claprt.tasks.functions import Model, classification, classify, embed, loaded, similarity, tag

__all__ = ["Model", "classification", "classify", "embed", "loaded", "similarity", "tag"]
