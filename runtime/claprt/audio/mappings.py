"""Dictionaries that hold one sound, as Hugging Face datasets, pipelines of transformers and ComfyUI make them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, cast

from claprt.audio.objects import is_known_object, is_samples
from claprt.errors import AudioShapeError, AudioTypeError

_SAMPLES = ("array", "raw", "waveform", "audio")
_RATES = ("sampling_rate", "sample_rate", "samplerate", "sr", "rate")


def unwrap_mapping(sound: Mapping[Any, Any]) -> tuple[Any, Any]:
    """What a dictionary holds: samples with the rate that it states, or the bytes of a file, or its path.

    Raises:
        AudioTypeError: If it is not one sound; the message states what would be.
        AudioShapeError: If it holds a batch of several.
    """
    rate = next((sound[key] for key in _RATES if sound.get(key) is not None), None)
    if rate is not None and getattr(rate, "shape", None) == () and hasattr(rate, "item"):
        rate = rate.item()  # datasets that give torch or numpy
    for key in _SAMPLES:
        value = sound.get(key)
        if value is not None and is_samples(value):
            return (_first_of_batch(value) if key == "waveform" else value), rate
    content, path = sound.get("bytes"), sound.get("path")
    if isinstance(content, bytes | bytearray | memoryview):
        return content, None
    if content is None and isinstance(path, str | os.PathLike):
        return path, None
    raise AudioTypeError(_not_a_sound_in(sound))


def _first_of_batch(waveform: Any) -> Any:
    """The one sound of a waveform [batch, channels, samples], as ComfyUI has it.

    Raises:
        AudioShapeError: If there are several sounds.
    """
    shape = getattr(waveform, "shape", ())
    if len(shape) != 3:
        return waveform
    if shape[0] != 1:
        raise AudioShapeError(
            f"The waveform [{', '.join(map(str, shape))}] holds {shape[0]} sounds; pass a list with one of them each, "
            'such as [{"waveform": one, "sample_rate": rate} for one in waveform].'
        )
    return waveform[0]


def name_of(sound: Mapping[Any, Any]) -> Any:
    """What a dictionary is best named by: its path, else what it holds; None where it is not a sound."""
    path = sound.get("path")
    if isinstance(path, str | os.PathLike):
        return cast("Any", path)
    value = next((sound[key] for key in (*_SAMPLES, "bytes") if sound.get(key) is not None), None)
    return None if isinstance(value, Mapping) else value


def _not_a_sound_in(sound: Mapping[Any, Any]) -> str:
    keys = ", ".join(map(repr, list(sound)[:8])) or "no keys"
    for key, value in sound.items():
        inside = cast("Any", value[0] if isinstance(value, list) and value else value)
        is_sound = is_known_object(inside) or (key == "audio" and isinstance(inside, str | bytes | os.PathLike))
        if is_sound or (isinstance(inside, Mapping) and any(one in inside for one in (*_SAMPLES, "bytes", "path"))):
            return (
                f"A dictionary with the keys {keys} is a row of a dataset, whose sound is row[{key!r}]: pass that "
                f"(embed_audio(row[{key!r}]), or a list of them)."
            )
    if sound.get("bytes", 0) is None and sound.get("path", 0) is None:
        return 'This dictionary has neither: "bytes" and "path" are both None. Leave such rows out.'
    for key in (*_SAMPLES, "bytes", "path"):
        if sound.get(key) is not None:
            return (
                f"The dictionary's {key!r} is {type(sound[key]).__name__}; samples are an array, "
                '"bytes" those of a file, "path" its path.'
            )
    return (
        'A dictionary is one sound where it has "array" and "sampling_rate", "waveform" and "sample_rate", "bytes" or '
        f'"path"; this one has {keys}. Several sounds go in as a list, such as list(sounds.values()).'
    )
