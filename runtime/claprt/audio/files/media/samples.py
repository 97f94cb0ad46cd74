"""Which of FFmpeg's decoders run, and their frames as mono float32 at the scale that libsndfile has."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from numpy.typing import NDArray

from claprt.audio.resample import Samples
from claprt.errors import AudioDecodeError, NonFiniteAudioError

if TYPE_CHECKING:
    from av.audio.frame import AudioFrame

DECODERS = frozenset(
    re.findall(
        r"\w+",
        """
    aac ac3 eac3 mp1 mp1float mp2 mp2float mp3 mp3float alac ape amrnb amrwb dca dsd_lsbf dsd_lsbf_planar dsd_msbf
    dsd_msbf_planar dst flac g722 g723_1 g726 g726le g729 gsm gsm_ms ilbc mace3 mace6 mlp mpc7 mpc8 nellymoser opus
    qcelp qdm2 qdmc real_144 real_288 cook sipr shorten speex tak truehd truespeech tta vorbis wavpack wmav1 wmav2
    wmapro wmalossless wmavoice adpcm_ima_qt adpcm_ima_wav adpcm_ms adpcm_swf adpcm_yamaha pcm_alaw pcm_mulaw
    pcm_bluray pcm_dvd pcm_f16le pcm_f24le pcm_f32be pcm_f32le pcm_f64be pcm_f64le pcm_s16be pcm_s16be_planar
    pcm_s16le pcm_s16le_planar pcm_s24be pcm_s24le pcm_s24le_planar pcm_s32be pcm_s32le pcm_s32le_planar pcm_s64be
    pcm_s64le pcm_s8 pcm_s8_planar pcm_u16be pcm_u16le pcm_u24be pcm_u24le pcm_u32be pcm_u32le pcm_u8
        """,
    )
)
"""Decoders that may run, by FFmpeg's names."""

_SAMPLES: dict[str, tuple[str, float]] = {
    "u8": ("u1", 2.0**-7),
    "s16": ("i2", 2.0**-15),
    "s32": ("i4", 2.0**-31),
    "s64": ("i8", 2.0**-63),
    "flt": ("f4", 1.0),
    "dbl": ("f8", 1.0),
}
"""Dtype and scale of FFmpeg's sample formats; 24 bits stand in the upper ones of `s32`."""


def mono_samples(name: str, frame: AudioFrame) -> Samples:
    """The mean of a frame's channels, float32 [samples].

    Raises:
        AudioDecodeError: If the frame holds no samples of a known kind.
        NonFiniteAudioError: If it holds NaN or infinity.
    """
    from av.audio.plane import AudioPlane

    kind = frame.format.name.removesuffix("p")
    if kind not in _SAMPLES:
        raise AudioDecodeError(f"{name} cannot be decoded: its samples are {frame.format.name}.")
    dtype, scale = _SAMPLES[kind]
    channels = frame.layout.nb_channels
    # AudioFrame.planes and to_ndarray look for a null pointer behind the last plane; where there are eight there is none.
    if frame.format.is_planar:
        planes = [np.frombuffer(cast("Any", AudioPlane(frame, index)), dtype, frame.samples) for index in range(channels)]
        taken: NDArray[Any] = np.stack(planes, axis=1)
    else:
        taken = np.frombuffer(cast("Any", AudioPlane(frame, 0)), dtype, frame.samples * channels).reshape(-1, channels)
    with np.errstate(over="ignore", invalid="ignore"):  # infinity and NaN are found below
        samples = taken.astype(np.float32)
        if kind == "u8":
            samples -= np.float32(128)
        samples *= np.float32(scale)
        mono = samples.mean(axis=1) if channels > 1 else samples[:, 0]
    if not np.isfinite(mono).all():
        raise NonFiniteAudioError(f"{name} holds NaN or infinity; clean it first (numpy.nan_to_num).")
    return mono
