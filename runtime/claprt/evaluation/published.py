"""Labels and sentences of published evaluations, so that figures can be held against theirs.

Each row states what its source does: the class labels, the sentence, and whether labels keep the underscores of the data
set's files. laion-clap has two sentences: its example for ESC-50 ends without a full stop, its evaluation of any data set
(`laion_clap/evaluate/eval_zeroshot_classification.py` of 1.1.7) with one. The data sets themselves are not part of this
package.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from claprt.errors import OptionError
from claprt.scoring.labels import apply_template

_ESC_50 = (
    "dog", "rooster", "pig", "cow", "frog", "cat", "hen", "insects", "sheep", "crow",
    "rain", "sea waves", "crackling fire", "crickets", "chirping birds", "water drops", "wind", "pouring water",
    "toilet flush", "thunderstorm",
    "crying baby", "sneezing", "clapping", "breathing", "coughing", "footsteps", "laughing", "brushing teeth", "snoring",
    "drinking sipping",
    "door wood knock", "mouse click", "keyboard typing", "door wood creaks", "can opening", "washing machine",
    "vacuum cleaner", "clock alarm", "clock tick", "glass breaking",
    "helicopter", "chainsaw", "siren", "car horn", "engine", "train", "church bells", "airplane", "fireworks", "hand saw",
)  # fmt: skip
_URBANSOUND8K = (
    "air conditioner", "car horn", "children playing", "dog bark", "drilling", "engine idling", "gun shot", "jackhammer",
    "siren", "street music",
)  # fmt: skip
_GTZAN = ("blues", "classical", "country", "disco", "hiphop", "jazz", "metal", "pop", "reggae", "rock")
_RAVDESS = ("neutral", "calm", "happy", "sad", "angry", "fearful", "disgust", "surprised")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """Labels and the sentence of one evaluation."""

    name: str
    source: str
    """Whose evaluation, and on which data set."""
    template: str
    labels: tuple[str, ...]
    underscores: bool = False
    """Whether the sentences have `_` where the labels have spaces."""

    def sentences(self, labels: Sequence[str]) -> list[str]:
        """The sentence of each label, as it is embedded."""
        words = [label.replace(" ", "_") for label in labels] if self.underscores else labels
        return apply_template(self.template, words)


_SOUND = "This is a sound of {}"
PUBLISHED = {
    row.name: row
    for row in (
        Published(
            name="laion-esc50", source="laion-clap's example for ESC-50 (README)", template=_SOUND, labels=_ESC_50
        ),
        Published(
            name="laion-urbansound8k", source="laion-clap's zero-shot evaluation, labels of UrbanSound8K",
            template=f"{_SOUND}.", labels=_URBANSOUND8K,
        ),
        Published(
            name="laion-gtzan", source="laion-clap on GTZAN (README)", template="This audio is a {} song.", labels=_GTZAN
        ),
        Published(name="msclap-esc50", source="msclap on ESC-50", template="this is the sound of {}", labels=_ESC_50),
        Published(
            name="mteb-esc50", source="mteb's ESC50_Zeroshot", template=_SOUND, labels=_ESC_50, underscores=True
        ),
        Published(
            name="mteb-urbansound8k", source="mteb's UrbanSound8kZeroshot", template=_SOUND, labels=_URBANSOUND8K
        ),
        Published(
            name="mteb-ravdess", source="mteb's RavdessZeroshot", template="this person is feeling {}", labels=_RAVDESS
        ),
    )
}  # fmt: skip
"""By name."""


def find_published(name: str) -> Published:
    """A row by its name.

    Raises:
        OptionError: If there is none.
    """
    if name not in PUBLISHED:
        raise OptionError(f"published={name!r} is not known; choose one of {', '.join(PUBLISHED)}.")
    return PUBLISHED[name]
