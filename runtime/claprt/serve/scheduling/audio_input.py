"""Audio of a request as the client sent it, and its decoding.

A request is queued as it was sent, and a reader thread decodes it: that takes time and memory where the request is large.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

import msgspec

from claprt.audio.raw_audio import raw_source
from claprt.audio.sound import AudioSource
from claprt.errors import AudioDecodeError, AudioError, SampleRateError
from claprt.serve.base64_audio import from_base64, from_uri

_NUMBER = re.compile(r"\s*([0-9]{1,9})(?:\.0*)?\s*")
_MISSING = "Missing audio_buffer in request"  # the original's words
_OTHER_RATE_NAMES = (
    *("samplerate", "sampling_rate", "samplingRate", "samplingrate", "frame_rate", "frameRate", "rate", "sr", "fs", "hz"),
    *("SAMPLE_RATE", "SampleRate", "Sample-Rate", "sample-rate", "sampling-rate", "sample_rate_hz", "sampleRateHz"),
    *("sample_rate_hertz", "sampleRateHertz", "SR", "Rate"),
)
"""Names of the sample rate in other APIs. They are refused: ignored, they would silently mean the default rate."""


class Encoding(StrEnum):
    """How a request holds its audio."""

    SOURCE = "source"
    """Anything that `open_sound` reads: the bytes of a file, a file object, an array."""
    BASE64 = "base64"
    """Text: a file in base64 or in a `data:` URI."""
    SAMPLES = "samples"
    """Bytes: raw little-endian float32 mono, or a file."""
    MESSAGE = "message"
    """Text: a message of kromosynth's protocol, JSON with samples or a file in base64."""


@dataclass(frozen=True, slots=True)
class AudioInput:
    """Audio of one request."""

    content: AudioSource
    """Text where the encoding is text."""
    sample_rate: int | None = None
    """Of samples, in Hz, where the content states none; files state their own."""
    encoding: Encoding = Encoding.SOURCE
    name: str | None = None
    """Name of an uploaded file, for messages."""


class NamedFile(io.BytesIO):
    """The bytes of an upload with its file name."""

    def __init__(self, content: bytes, name: str) -> None:
        super().__init__(content)
        self.name = name


class _Message(msgspec.Struct):
    """A message in JSON. Other fields are skipped; as objects, 64 MB of them would be 1.5 GB and take seconds."""

    audio_buffer: str | msgspec.UnsetType = msgspec.UNSET
    sample_rate: float | str | None = None
    camel_case: float | str | None = msgspec.field(default=None, name="sampleRate")


_FIELDS = {f"field_{number}": name for number, name in enumerate(_OTHER_RATE_NAMES)}
_OtherRates = msgspec.defstruct(
    "_OtherRates", [(field, msgspec.Raw, msgspec.Raw(b"null")) for field in _FIELDS], rename=_FIELDS
)


def decode(audio: AudioInput) -> AudioInput:
    """Decode audio to a source that `open_sound` reads.

    Raises:
        AudioDecodeError: If the content is not what its encoding says.
        SampleRateError: If a message states a rate that is not a whole number of Hz, or under another name.
    """
    content = audio.content
    if audio.encoding is Encoding.BASE64:
        return AudioInput(from_uri(cast("str", content)))
    if audio.encoding is Encoding.SAMPLES:
        return AudioInput(raw_source(cast("bytes", content)), audio.sample_rate)
    if audio.encoding is Encoding.MESSAGE:
        return _decode_message(cast("str", content), audio.sample_rate)
    return audio if audio.name is None else AudioInput(NamedFile(cast("bytes", content), audio.name))


def _decode_message(text: str, default_rate: int | None) -> AudioInput:
    text = text.removeprefix("\ufeff")
    try:
        message = msgspec.json.decode(text, type=_Message)
    except msgspec.ValidationError as error:
        raise _invalid(str(error)) from error
    except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError) as error:
        raise AudioDecodeError(f"The message is not JSON: {error}.") from error
    if message.audio_buffer is msgspec.UNSET:
        raise AudioDecodeError(_MISSING)
    stated = message.camel_case if message.sample_rate is None else message.sample_rate
    if stated is None:
        others = msgspec.json.decode(text, type=_OtherRates)
        refuse_other_rate_names(name for field, name in _FIELDS.items() if bytes(getattr(others, field)) != b"null")
    rate = default_rate if stated is None else parse_rate(stated)
    buffer = message.audio_buffer
    data = from_uri(buffer) if buffer[:64].lstrip()[:5].lower() == "data:" else from_base64(buffer, "audio_buffer")
    return AudioInput(raw_source(data), rate)


def _invalid(reason: str) -> AudioError:
    """The error for JSON that does not have the shape of a message."""
    if "$.sample_rate" in reason or "$.sampleRate" in reason:
        return SampleRateError(f"sample_rate: {reason}; a whole number of Hz was expected.")
    return AudioDecodeError("audio_buffer is not a string of base64." if "$.audio_buffer" in reason else _MISSING)


def refuse_other_rate_names(names: Iterable[str]) -> None:
    """Raise if the rate is stated under a name of another API.

    Raises:
        SampleRateError: If `names` has one of them.
    """
    for name in names:
        if name in _OTHER_RATE_NAMES:
            raise SampleRateError(f"{name} is not the field for the rate; send the rate of samples in Hz as sample_rate.")


def parse_rate(stated: object) -> int:
    """Parse a rate in Hz: a whole number, or a string of digits.

    Raises:
        SampleRateError: If it is not a whole number of Hz.

    Example:
        >>> parse_rate("48000"), parse_rate(8000.0), parse_rate("44100.0")
        (48000, 8000, 44100)
    """
    if isinstance(stated, str) and (number := _NUMBER.fullmatch(stated)) is not None:
        return int(number[1])
    if isinstance(stated, int | float) and not isinstance(stated, bool) and float(stated).is_integer():
        return int(stated)
    raise SampleRateError(f"sample_rate is {stated!r:.40}; a whole number of Hz was expected.")
