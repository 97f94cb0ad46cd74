"""kromosynth's WebSocket protocol (`features/clap/ws_clap_service.py` of kromosynth-evaluate).

It is spoken at every WebSocket path that is not another endpoint's, since the original ignores the path. A message is a
binary frame, raw little-endian float32 mono, or JSON with the same in base64,
`{"audio_buffer": "…", "sample_rate": 16000}`. The bytes of a sound file may stand in place of the samples, with a rate of
their own. The reply has the original's keys; `/clap-bd`, which is announced there and exists nowhere, adds
`behavior_descriptor`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec
from starlette.websockets import WebSocket

from claprt.audio.raw_audio import raw_source
from claprt.audio.sound import MAX_RATE, MIN_RATE
from claprt.errors import AudioDecodeError, AudioError, ClaprtError, OptionError, SampleRateError
from claprt.serve.base64_audio import from_base64, from_uri
from claprt.serve.scheduling.features import Given
from claprt.serve.scheduling.service import Service

DEFAULT_RATE = 16_000
_NUMBER = re.compile(r"\s*([0-9]{1,9})(?:\.0*)?\s*")
_MISSING = "Missing audio_buffer in request"  # the original's words
_NEARLY = (
    *("samplerate", "sampling_rate", "samplingRate", "samplingrate", "frame_rate", "frameRate", "rate", "sr", "fs", "hz"),
    *("SAMPLE_RATE", "SampleRate", "Sample-Rate", "sample-rate", "sampling-rate", "sample_rate_hz", "sampleRateHz"),
    *("sample_rate_hertz", "sampleRateHertz", "SR", "Rate"),
)
"""What a rate is called elsewhere. Passed over, the sound would be heard at the default rate, and nobody would notice."""


class _Message(msgspec.Struct):
    """A message in JSON. What it does not name is passed over; as objects, 64 MB of it would be 1.5 GB and take seconds."""

    audio_buffer: str | msgspec.UnsetType = msgspec.UNSET
    sample_rate: float | str | None = None
    camel_case: float | str | None = msgspec.field(default=None, name="sampleRate")


_FIELDS = {f"field_{number}": name for number, name in enumerate(_NEARLY)}
_Near = msgspec.defstruct("_Near", [(field, msgspec.Raw, msgspec.Raw(b"null")) for field in _FIELDS], rename=_FIELDS)


class Kromosynth:
    """The protocol on one connection."""

    def __init__(
        self, service: Service, socket: WebSocket, sample_rate: int = DEFAULT_RATE, *, describes: bool = False
    ) -> None:
        """`sample_rate` holds where neither the address nor the message states one; `describes` adds the descriptor."""
        self._service, self._rate, self._describes = service, sample_rate, describes
        self._parameters = socket.query_params

    async def answer(self, message: bytes | str) -> str:
        """The vector of a sound, with the original's keys."""
        began = time.perf_counter()
        if self._describes:
            self._service.check_projection()
        rate = stated_rate(_of_address(self._parameters), self._rate)
        heard = await self._service.heard(lambda: given(message, rate))
        vector = heard.sound.vector
        assert vector is not None
        extra: dict[str, Any] = {}
        if self._describes:
            extra["behavior_descriptor"] = (await self._service.descriptor(vector)).tolist()
        return reply(vector.tolist(), time.perf_counter() - began, extra)

    def refusal(self, error: ClaprtError) -> str:
        """An error with the original's keys."""
        return msgspec.json.encode({"status": "ERROR", "message": str(error)}).decode()


def reply(vector: list[float], took_s: float, extra: dict[str, Any]) -> str:
    """The original's reply, key for key, and what is added to it."""
    found = {
        "status": "received standalone audio",
        "features": vector,
        "embedding": vector,
        "type": "clap",
        "time": took_s,
        "extraction_time_ms": round(1000 * took_s, 2),
    }
    return msgspec.json.encode(found | extra).decode()


def _of_address(parameters: Mapping[str, str]) -> str | None:
    """The rate that an address states, if it does. Other parameters, such as kromosynth's `ckpt_dir`, are passed over.

    Raises:
        SampleRateError: if it is stated under another name.
    """
    stated = parameters.get("sample_rate") or parameters.get("sampleRate")
    if not stated:
        _refuse_other_names(name for name in _NEARLY if parameters.get(name))
    return stated or None


def given(message: bytes | str, rate: int) -> Given:
    """The sound of a message; `rate` is that of binary frames, and of JSON that states none, in Hz."""
    if isinstance(message, str):
        return from_json(message, rate)
    return Given(raw_source(message), rate)


def from_json(text: str, rate: int) -> Given:
    """The sound of a message in JSON.

    Args:
        text: the message.
        rate: of samples where the message states none, in Hz.

    Raises:
        AudioDecodeError: if it is no such message, or its bytes are neither samples nor a file.
        SampleRateError: if its rate is not a number of Hz, or has another name.
    """
    text = text.removeprefix("\ufeff")
    try:
        message = msgspec.json.decode(text, type=_Message)
    except msgspec.ValidationError as error:
        raise _misfit(str(error)) from error
    except (msgspec.MsgspecError, RecursionError, UnicodeEncodeError) as error:
        raise AudioDecodeError(f"The message is not JSON: {error}.") from error
    if message.audio_buffer is msgspec.UNSET:
        raise AudioDecodeError(_MISSING)
    stated = message.camel_case if message.sample_rate is None else message.sample_rate
    if stated is None:
        near = msgspec.json.decode(text, type=_Near)
        _refuse_other_names(name for field, name in _FIELDS.items() if bytes(getattr(near, field)) != b"null")
    buffer = message.audio_buffer
    data = from_uri(buffer) if buffer[:64].lstrip()[:5].lower() == "data:" else from_base64(buffer, "audio_buffer")
    return Given(raw_source(data), stated_rate(stated, rate))


def _refuse_other_names(found: Iterable[str]) -> None:
    for name in found:
        raise SampleRateError(
            f"{name} is not what the rate is called here; the rate of samples in Hz goes into sample_rate."
        )


def _misfit(reason: str) -> AudioError:
    """What is wrong with JSON that has not the shape of a message."""
    if "$.sample_rate" in reason or "$.sampleRate" in reason:
        return SampleRateError(f"sample_rate: {reason}; a whole number of Hz was expected.")
    return AudioDecodeError("audio_buffer is not a string of base64." if "$.audio_buffer" in reason else _MISSING)


def check_default_rate(rate: int) -> None:
    """Refuses a rate, in Hz, with which no frame that states none could be read.

    Raises:
        OptionError: there are no sounds of this rate.
    """
    if not MIN_RATE <= rate <= MAX_RATE:
        raise OptionError(f"sample_rate={rate} is not possible; give {MIN_RATE} to {MAX_RATE} Hz.")


def stated_rate(stated: object, default: int) -> int:
    """A rate as it was stated: a number, or a string of digits.

    Raises:
        SampleRateError: if it is not a whole number of Hz.

    Example:
        >>> stated_rate(None, 16000), stated_rate("48000", 16000), stated_rate(8000.0, 16000), stated_rate("44100.0", 16000)
        (16000, 48000, 8000, 44100)
    """
    if stated is None:
        return default
    if isinstance(stated, str) and (number := _NUMBER.fullmatch(stated)) is not None:
        return int(number[1])
    if isinstance(stated, int | float) and not isinstance(stated, bool) and float(stated).is_integer():
        return int(stated)
    raise SampleRateError(f"sample_rate is {stated!r:.40}; a whole number of Hz was expected.")
