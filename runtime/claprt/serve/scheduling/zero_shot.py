"""What a sound is: labels to choose among, or tags that are judged one by one, as services answer it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from claprt.serve.limits import Limits, checked_count, checked_length
from claprt.serve.scheduling.asked import Heard
from claprt.serve.scheduling.features import Load, Outline
from claprt.serve.scheduling.service import Service, Times
from claprt.tasks import classification
from claprt.tasks.labels import checked_labels, filled_in
from claprt.tasks.tagging import NEUTRAL_PROMPTS, tagging


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A sound and words about it. Without words it is only heard."""

    load: Load
    mode: Literal["classify", "tag"]
    words: Sequence[str]
    template: str | None = None
    top_k: int = 1
    threshold: float = 0.5


async def asked(service: Service, question: Question, times: Times, outline: Outline | None = None) -> Answered:
    """The answer to a question, by one run over the sound.

    Raises:
        ClaprtError: the words or the sound are none.
    """
    if not question.words:
        return Answered(await service.heard(question.load, times, outline), None)
    called = "labels" if question.mode == "classify" else "tags"
    names, sentences = await service.batcher.aside(lambda: _checked(question, called, service.limits))
    # texts first: what is wrong with them is found before the sound costs anything
    texts = await service.texts(sentences, times, called)
    neutral = await service.known(NEUTRAL_PROMPTS, times) if question.mode == "tag" else texts
    heard = await service.heard(question.load, times, outline)
    vector = heard.sound.vector
    assert vector is not None
    if question.mode == "tag":
        result: Any = tagging(service.clap.manifest, vector, texts, neutral, names, question.threshold)
    else:
        result = classification(service.clap, vector, texts, names, question.top_k)
    return Answered(heard, result.to_dict())


@dataclass(frozen=True, slots=True)
class Answered:
    """How a sound was heard, and what was asked about it."""

    heard: Heard
    result: dict[str, Any] | None


def _checked(question: Question, called: str, limits: Limits) -> tuple[tuple[str, ...], list[str]]:
    """The words and the sentences that are embedded, none of which is made before it is known to be short enough."""
    checked_count(len(question.words), limits.texts, called)
    names = checked_labels(question.words, called)
    longest, template = max(map(len, names)), question.template
    if template is not None:
        longest = max(longest, len(template) + template.count("{}") * (longest - len("{}")))
    checked_length(longest, limits)
    return names, filled_in(template, names)
