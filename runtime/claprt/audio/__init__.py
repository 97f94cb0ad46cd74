"""From what a caller passes as a sound to inputs of the audio tower.

    sources        kinds of sources: paths, bytes, files, arrays, dictionaries, one or many
    mappings       dictionaries that hold a sound
    objects        sounds of other libraries, recognised without importing those
    levels         arrays of any dtype to mono samples in [-1, 1]
    raw_audio      bytes that are stated to be raw samples
    decode         bytes to samples
    files          sound files: formats, libsndfile, FFmpeg
    sound          `open_sound`: any source to blocks of samples
    resample       the two resamplers
    preprocess     recipes: levels, resampling, 16-bit rounding
    windows        windows of a clip, as index arithmetic
    long_audio     policies for clips longer than a window
    log_mel        the log-mel front end
    native_bands   its Fourier transform by claprt-native
    dense_windows  log-mels of windows that overlap, with shared spectra
    features       the whole way from a source to features
    block_stream   the same for a sound that arrives in blocks
    pipe           sound that arrives on standard input: raw samples or WAV
    microphone     sound from a microphone (sounddevice)
    synthetic      sounds that are computed, for tests and demonstrations

Imports `text` and below, not `engines`.
"""

from typing import TYPE_CHECKING

from claprt._moved import attribute
from claprt.audio.levels import MAX_CHANNELS
from claprt.audio.sound import Sound, open_sound
from claprt.audio.sources import AudioSource, check_rate, is_one_source, source_name

__all__ = ["MAX_CHANNELS", "AudioSource", "Sound", "check_rate", "is_one_source", "open_sound", "source_name"]

if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        return attribute(__name__, name)
