"""kromosynth's WebSocket protocol (`features/clap/ws_clap_service.py` of kromosynth-evaluate).

It is spoken at every WebSocket path without an endpoint of its own, since the original ignores the path. A message is a
binary frame, raw little-endian float32 mono, or JSON with the same in base64,
`{"audio_buffer": "…", "sample_rate": 16000}`. The bytes of an audio file may replace the samples; its own rate is used
then. The reply has the original's keys; `/clap-bd`, which the original announces and does not have, adds
`behavior_descriptor`.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

import msgspec
from starlette.websockets import WebSocket

from claprt.audio.sound import MAX_RATE, MIN_RATE
from claprt.errors import ClaprtError, OptionError
from claprt.serve.scheduling.audio_input import AudioInput, Encoding, parse_rate, refuse_other_rate_names
from claprt.serve.scheduling.service import Service

DEFAULT_RATE = 16_000


class Kromosynth:
    """The protocol on one connection."""

    def __init__(
        self, service: Service, socket: WebSocket, sample_rate: int = DEFAULT_RATE, *, with_descriptor: bool = False
    ) -> None:
        """Bind the protocol to a connection.

        Args:
            service: Embeds the audio.
            socket: The connection, whose address may state a rate.
            sample_rate: Rate in Hz where neither the address nor the message states one.
            with_descriptor: Whether replies have the behaviour descriptor too.
        """
        self._service, self._rate, self._with_descriptor = service, sample_rate, with_descriptor
        self._parameters = socket.query_params

    async def answer(self, message: bytes | str) -> str:
        """Embed the audio of a message; the reply has the original's keys."""
        began = time.perf_counter()
        if self._with_descriptor:
            self._service.check_projection()
        encoding = Encoding.MESSAGE if isinstance(message, str) else Encoding.SAMPLES
        embedding = await self._service.embed(AudioInput(message, self._stated_rate(), encoding))
        vector = embedding.sound.vector
        assert vector is not None
        extra: dict[str, Any] = {}
        if self._with_descriptor:
            extra["behavior_descriptor"] = (await self._service.descriptor(vector)).tolist()
        return reply(vector.tolist(), time.perf_counter() - began, extra)

    def error_reply(self, error: ClaprtError) -> str:
        """An error with the original's keys."""
        return msgspec.json.encode({"status": "ERROR", "message": str(error)}).decode()

    def end(self) -> None:
        """The connection has ended; nothing is kept of it."""

    def _stated_rate(self) -> int:
        """The rate in the address, or the default; other parameters, such as kromosynth's `ckpt_dir`, are ignored."""
        stated = self._parameters.get("sample_rate") or self._parameters.get("sampleRate")
        if stated:
            return parse_rate(stated)
        refuse_other_rate_names(name for name, value in self._parameters.items() if value)
        return self._rate


def reply(vector: list[float], took_s: float, extra: Mapping[str, Any]) -> str:
    """The original's reply, key for key, with `extra` fields."""
    fields = {
        "status": "received standalone audio",
        "features": vector,
        "embedding": vector,
        "type": "clap",
        "time": took_s,
        "extraction_time_ms": round(1000 * took_s, 2),
    }
    return msgspec.json.encode({**fields, **extra}).decode()


def check_default_rate(rate: int) -> None:
    """Check the rate, in Hz, of frames that state none.

    Raises:
        OptionError: If audio cannot have this rate.
    """
    if not MIN_RATE <= rate <= MAX_RATE:
        raise OptionError(f"sample_rate={rate} is not possible; give {MIN_RATE} to {MAX_RATE} Hz.")
