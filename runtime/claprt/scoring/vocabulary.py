"""Whether labels are about sounds that a model was trained on, by the words of its training captions.

A CLAP model answers any words: one that was trained on a few hundred sounds chooses among labels it has never met with the
same confidence as among those it was trained on. Bundles whose manifest lists the words of their training captions
(`Source.trained_words`; the small model that ships with the package does) can say so.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from claprt.bundle.manifest import Manifest

_EMPTY_WORDS = """
a an and at by can could far for from hear heard her his i in is it its my near of off on one or our out over recorded
recording record she he sound that the their there they this to two up very we with you audio clip person people man
woman men women someone somebody loud quiet soft big small little long short fast slow high low good bad new old
several many some being makes making made all no not only own full empty real strange generic random regular irregular
before again first last blue red black dark bright main test number type video picture standing street lit light heavy
sad happy mad crazy fake plain
"""
"""Words that do not say what is heard."""
_EMPTY = frozenset(_EMPTY_WORDS.split())
_ENDINGS = ("ing", "ed", "es", "s", "e")


def stems(words: str) -> frozenset[str]:
    """The words of a label or caption that say what is heard, without their endings.

    Example:
        >>> sorted(stems("The sound of two dogs barking")), sorted(stems("a bark"))
        (['bark', 'dog'], ['bark'])
    """
    return frozenset(_stem(word) for word in re.findall(r"[^\W\d_]+", words.lower()) if word not in _EMPTY)


def _stem(word: str) -> str:
    for ending in _ENDINGS:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            stem = word.removesuffix(ending)
            return stem[:-1] if len(stem) > 3 and stem[-1] == stem[-2] else stem
    return word


def unknown_labels(labels: Iterable[str], trained_words: str) -> list[str]:
    """The labels none of whose words is among those of the training captions, in order.

    Args:
        labels: Words or sentences.
        trained_words: As `Source` has them; where there are none nothing is known, and all labels count as known.

    Example:
        >>> unknown_labels(["speech", "a dog"], "bark dog rain"), unknown_labels(["speech"], "")
        (['speech'], [])
    """
    known = frozenset(trained_words.split())
    return [label for label in labels if known and not stems(label) & known]


def warning(manifest: Manifest, labels: Sequence[str]) -> str | None:
    """What to tell whoever asks a model only for what it was not trained on; None otherwise.

    Args:
        manifest: Of the model.
        labels: All that it is asked to choose among, or tags.
    """
    source = manifest.source
    if len(unknown_labels(labels, source.trained_words)) < len(labels):
        return None
    return (
        f"None of these words is among those that {manifest.name} was trained on, so this answer means little. "
        f"It was trained on {source.trained_on or 'other sounds'}. LAION's checkpoints were trained on far more."
    )
