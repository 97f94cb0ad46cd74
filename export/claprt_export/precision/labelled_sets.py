"""Sounds and texts as inputs of the towers: those that ranges of int8 are taken from, and labelled ones to measure on."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import tokenizers

from claprt.arrays import Array
from claprt.audio.features import audio_features
from claprt.audio.long_audio import LongAudioPolicy, LongMode
from claprt.audio.preprocess import recipe
from claprt.audio.sound import AudioSource
from claprt.audio.synthetic import SOUNDS
from claprt.bundle.manifest import AudioConfig
from claprt.errors import AudioError
from claprt.evaluation.dataset import Dataset, dataset_sounds
from claprt.evaluation.zero_shot import DEFAULT_TEMPLATE
from claprt.scoring.labels import apply_template
from claprt.text.tokenizer import pad
from claprt_export.errors import PrecisionError
from claprt_export.synthesis.captions import TEMPLATES
from claprt_export.synthesis.classes import KINDS, synthesise

Feeds = dict[str, Array]

SYNTHESISED_SET = "synthesised kinds"
EACH = 3
"""Synthesised sounds of each class that every graph is measured on."""
EACH_AT_MOST = 12
"""The same where so many answers change that fewer do not exclude a loss above the limit."""
_WORDINGS = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Labelled:
    """A labelled set as inputs of the towers."""

    name: str
    sounds: Iterable[Feeds]
    """Inputs of the audio tower, one sound each; made when they are needed."""
    sizes: tuple[int, ...]
    """Numbers of sounds, ascending, that a measurement may be made on; always the first ones."""
    classes: Array
    """[sounds] int64: number of each sound's class, -1 without one."""
    labels: tuple[Sequence[str], ...]
    """Texts of all classes, once in each wording. Top-1 is the mean over wordings."""
    captions: Sequence[str]
    caption_groups: Array
    """[captions] int64: a caption is right for the sounds of the same group."""
    sound_groups: Array
    """[sounds] int64: group of each sound, -1 without one."""


def calibration_sounds(facts: AudioConfig, dataset: Dataset | None) -> Iterator[Feeds]:
    """Sounds to take ranges from: one of each class, those of `claprt.audio.synthetic`, and those of a dataset if given."""
    synthesised = (_synthesised(name, "calibration", 0) for name in KINDS)
    for waveform in itertools.chain(synthesised, _plain(facts)):
        yield _feeds(waveform, facts)
    for sound in dataset_sounds(dataset.items) if dataset is not None else ():
        yield _feeds(sound, facts)


def calibration_texts(tokenizer: tokenizers.Tokenizer, pad_token_id: int, max_tokens: int) -> Iterator[Feeds]:
    """Texts to take ranges from: classes in changing templates, and some that fill every token."""
    templates = itertools.cycle(TEMPLATES)
    texts = [next(templates).format(kind.held_out[0]) for kind in KINDS.values()]  # wordings that are not measured with
    texts += [" and then ".join(texts[start : start + 12]) for start in range(0, len(texts), 12)]
    for text in texts:
        yield tokenize(text, tokenizer, pad_token_id, max_tokens)


def synthesised_set(facts: AudioConfig, *, each: int = EACH, at_most: int = EACH_AT_MOST) -> Labelled:
    """Classes that this project synthesises, with parameters that neither training nor ranges of int8 have used."""
    kinds = list(KINDS.values())
    classes = np.tile(np.arange(len(kinds)), at_most)
    labels = tuple(
        apply_template(DEFAULT_TEMPLATE, [kind.wordings[number % len(kind.wordings)] for kind in kinds])
        for number in range(_WORDINGS)
    )
    return Labelled(
        name=SYNTHESISED_SET,
        sounds=(_feeds(_synthesised(name, "judge", number), facts) for number in range(at_most) for name in KINDS),
        sizes=tuple(len(kinds) * number for number in range(each, at_most + 1)),
        classes=classes,
        labels=labels,
        captions=[kind.wordings[number % len(kind.wordings)] for kind in kinds for number in range(2)],
        caption_groups=np.repeat(np.arange(len(kinds)), 2),
        sound_groups=classes,
    )


def labelled_set(dataset: Dataset, facts: AudioConfig) -> Labelled:
    """Prepare a dataset for the towers; of a long clip its beginning.

    Raises:
        PrecisionError: If it has neither labels nor captions, or if a sound of it cannot be read.
    """
    captions = [caption for item in dataset.items for caption in item.captions]
    if not dataset.labels and not captions:
        raise PrecisionError(f"{dataset.name} has neither labels nor captions to measure by.")
    numbers = {label: number for number, label in enumerate(dataset.labels)}
    classes = np.array([numbers.get(str(item.label), -1) for item in dataset.items], np.int64)
    labels = (apply_template(DEFAULT_TEMPLATE, dataset.labels),) if dataset.labels else ()
    caption_groups = np.array([n for n, item in enumerate(dataset.items) for _ in item.captions], np.int64)
    sound_groups = np.arange(len(dataset.items))
    if not captions:  # a label is a caption of all its sounds
        captions, caption_groups, sound_groups = list(itertools.chain(*labels)), np.arange(len(dataset.labels)), classes
    return Labelled(
        name=dataset.name,
        sounds=[_feeds(sound, facts) for sound in dataset_sounds(dataset.items)],
        sizes=(len(dataset.items),),
        classes=classes,
        labels=labels,
        captions=captions,
        caption_groups=caption_groups,
        sound_groups=sound_groups,
    )


def tokenize(text: str, tokenizer: tokenizers.Tokenizer, pad_token_id: int, max_tokens: int) -> Feeds:
    """One text as inputs of the text tower, `token_ids` and `attention_mask` [1, tokens] int64.

    Args:
        text: what to tokenize.
        tokenizer: of the checkpoint.
        pad_token_id: token that fills texts up.
        max_tokens: tokens that are kept, the marks of beginning and end included.
    """
    token_ids, mask = pad([tokenizer.encode(text).ids[:max_tokens]], pad_token_id)
    return {"token_ids": token_ids, "attention_mask": mask}


@lru_cache(maxsize=2 * len(KINDS))
def _synthesised(name: str, part: str, number: int) -> Array:
    return synthesise(name, np.random.default_rng(zlib.crc32(f"{name}/{part}/{number}".encode())))


def _plain(facts: AudioConfig) -> Iterator[Array]:
    for make in SOUNDS.values():
        yield make(facts.window_samples, facts.mel.sample_rate)


def _feeds(source: AudioSource, facts: AudioConfig) -> Feeds:
    """One sound as the audio tower takes it; a fused tower's local views are told apart by rolling the log-mel.

    Raises:
        PrecisionError: If the sound cannot be used.
    """
    head = LongAudioPolicy(mode=LongMode.HEAD)
    try:
        view = next(audio_features(source, facts, recipe("laion"), head, sample_rate=facts.mel.sample_rate))
    except AudioError as error:
        raise PrecisionError(f"A sound of the quality gate cannot be used: {error}") from error
    if not facts.fused:
        return {"log_mels": view.log_mels[None]}
    rolled = np.stack([np.roll(mel, 97 * n, axis=0) for n, mel in enumerate(view.log_mels)])
    longer = bool(zlib.crc32(rolled.tobytes()) % 2)
    return {"log_mels": rolled[None], "is_longer": np.array([[longer]])}
