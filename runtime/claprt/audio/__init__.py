"""From what a caller passes as a sound to the model's inputs."""

from typing import TYPE_CHECKING

from claprt._moved import attribute
from claprt.audio.levels import MAX_CHANNELS
from claprt.audio.sound import Sound, open_sound
from claprt.audio.sources import AudioSource, check_rate, is_one_source, source_name

__all__ = ["MAX_CHANNELS", "AudioSource", "Sound", "check_rate", "is_one_source", "open_sound", "source_name"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return attribute(__name__, name)
