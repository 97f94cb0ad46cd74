"""Tasks: embedding, zero-shot classification, tagging, similarity.

    functions          `embed`, `classify`, `tag`, `similarity`: one call from sounds to answers
    labels             validation of labels, templates
    classification     scores of labels, `Classification`
    tagging            probability of each tag by itself, `Tagging`
    timeline           `timeline` and `Stream`: labels over time, events
    joint_embedding    `JointEmbedding` of sounds and texts
    vocabulary         whether labels are words that a model was trained on

Imports `model` and below.
"""

from typing import TYPE_CHECKING

from claprt._moved import attribute
from claprt.tasks.functions import Model, classify, classify_embedding, embed, resolve_model, similarity, tag

__all__ = ["Model", "classify", "classify_embedding", "embed", "resolve_model", "similarity", "tag"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return attribute(__name__, name)
