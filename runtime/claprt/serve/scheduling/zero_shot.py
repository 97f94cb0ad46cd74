"""Zero-shot classification and tagging requests."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from claprt.bundle.graphs import Stage
from claprt.scoring.labels import apply_template, validate_labels
from claprt.scoring.tagging import NEUTRAL_PROMPTS, tag_embedding
from claprt.serve.limits import Limits, check_count, check_sentences
from claprt.serve.scheduling.audio_input import AudioInput
from claprt.serve.scheduling.job import TimedEmbedding
from claprt.serve.scheduling.service import Service, Times
from claprt.tasks.functions import classify_embedding


@dataclass(frozen=True, slots=True, kw_only=True)
class ZeroShotRequest:
    """Audio and labels (or tags) for it; without labels it is only embedded."""

    audio: AudioInput
    mode: Literal["classify", "tag"]
    labels: Sequence[str]
    template: str | None = None
    top_k: int = 1
    threshold: float = 0.5
    model: str | None = None
    """Name of the model that is asked."""


@dataclass(frozen=True, slots=True)
class ZeroShotResult:
    """The embedding of the audio, and the classification or the tags."""

    embedding: TimedEmbedding
    result: dict[str, Any] | None


async def answer(service: Service, request: ZeroShotRequest, times: Times) -> ZeroShotResult:
    """Classify or tag audio.

    Raises:
        ClaprtError: If the labels or the audio are invalid.
    """
    if not request.labels:
        return ZeroShotResult(await service.embed(request.audio, times), None)
    service.check_tower(Stage.TEXT)
    service.check_tower(Stage.AUDIO)
    called = "labels" if request.mode == "classify" else "tags"
    names, sentences = await service.threads.run(lambda: _sentences(request, called, service.limits))
    # texts first: errors in them are found before the audio costs anything
    texts = await service.embed_texts(sentences, times, called)
    neutral = await service.embed_cached_texts(NEUTRAL_PROMPTS, times) if request.mode == "tag" else texts
    embedding = await service.embed(request.audio, times)
    vector = embedding.sound.vector
    assert vector is not None
    if request.mode == "tag":
        result: Any = tag_embedding(service.clap.manifest, vector, texts, neutral, names, request.threshold)
    else:
        result = classify_embedding(service.clap, vector, texts, names, request.top_k)
    return ZeroShotResult(embedding, result.to_dict())


def _sentences(request: ZeroShotRequest, called: str, limits: Limits) -> tuple[tuple[str, ...], list[str]]:
    """The labels and their sentences, whose lengths are checked before they are made."""
    check_count(len(request.labels), limits.texts, called)
    names = validate_labels(request.labels, called)
    check_sentences(names, request.template, limits)
    return names, apply_template(request.template, names)
