"""Tasks: embedding, zero-shot classification, tagging, similarity.

    functions          `embed`, `classify`, `tag`, `similarity`: one call from sounds to answers
    models             which model is meant, loaded once
    timeline           `timeline`: labels over time, events
    joint_embedding    `JointEmbedding` of sounds and texts

Imports `model` and below.
"""

from typing import TYPE_CHECKING

from claprt._moved import attribute
from claprt.tasks.functions import classify, classify_embedding, embed, similarity, tag
from claprt.tasks.models import Model, resolve_model

__all__ = ["Model", "classify", "classify_embedding", "embed", "resolve_model", "similarity", "tag"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return attribute(__name__, name)
