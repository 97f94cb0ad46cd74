"""kromosynth's WebSocket protocol (`features/clap/ws_clap_service.py` of kromosynth-evaluate).

A message is a binary frame, raw little-endian float32 mono, or JSON with the same in base64,
`{"audio_buffer": "…", "sample_rate": 16000}`. The reply has the original's keys. One message or many on a connection; an
error is a reply, and the connection stays.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import json
import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from starlette.websockets import WebSocket, WebSocketDisconnect

from claprt.decode import float_samples
from claprt.errors import AudioDecodeError, ClaprtError, SampleRateError
from claprt.serve.batcher import Batcher

DEFAULT_RATE = 16_000
Samples = NDArray[np.float32]


class KromosynthSocket:
    """Answers connections at `/clap`."""

    def __init__(self, batcher: Batcher, sample_rate: int = DEFAULT_RATE, token: str | None = None) -> None:
        """`sample_rate` is that of binary frames, and of JSON that states none; `token` is what clients have to bear."""
        self._batcher, self._rate, self._token = batcher, sample_rate, token

    async def connection(self, socket: WebSocket) -> None:
        """One connection, until the client leaves."""
        if not allowed(socket.headers, self._token):
            await socket.close(1008, "A bearer token is needed.")
            return
        await socket.accept()
        try:
            rate = _rate(socket.query_params.get("sample_rate"), self._rate)
        except ClaprtError as error:
            await socket.send_text(_refusal(error))
            await socket.close(1003)
            return
        try:
            while True:
                message = await socket.receive()
                if message["type"] == "websocket.disconnect":
                    return
                await socket.send_text(await self._answer(message.get("bytes"), message.get("text"), rate))
        except (WebSocketDisconnect, RuntimeError):  # it went away while it was answered
            return

    async def _answer(self, binary: bytes | None, text: str | None, rate: int) -> str:
        started = time.perf_counter()
        try:
            if text is not None:
                samples, rate = from_json(text, rate)
            else:
                samples = float_samples(binary or b"")
            sound = await self._batcher.sound(samples, rate)
        except ClaprtError as error:
            return _refusal(error)
        assert sound.vector is not None
        return reply(sound.vector.tolist(), time.perf_counter() - started)


def allowed(headers: Mapping[str, str], token: str | None) -> bool:
    """Whether a request may be answered: always where no token is asked for."""
    given = headers.get("authorization", "")
    return token is None or hmac.compare_digest(given.encode(), f"Bearer {token}".encode())


def reply(vector: list[float], took_s: float) -> str:
    """The original's reply, key for key."""
    return json.dumps(
        {
            "status": "received standalone audio",
            "features": vector,
            "embedding": vector,
            "type": "clap",
            "time": took_s,
            "extraction_time_ms": round(1000 * took_s, 2),
        }
    )


def from_json(text: str, rate: int) -> tuple[Samples, int]:
    """Samples and their rate from a message in JSON.

    Raises:
        AudioDecodeError: it is no such message.
        SampleRateError: its rate is no number.
    """
    try:
        message: Any = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise AudioDecodeError(f"The message is not JSON: {error}.") from error
    if not isinstance(message, dict) or "audio_buffer" not in message:
        raise AudioDecodeError("Missing audio_buffer in request")  # the original's words
    if not isinstance(message["audio_buffer"], str):
        raise AudioDecodeError("audio_buffer is not a string of base64.")
    try:
        data = base64.b64decode(message["audio_buffer"], validate=True)
    except (binascii.Error, ValueError) as error:
        raise AudioDecodeError(f"audio_buffer is not base64: {error}.") from error
    return float_samples(data), _rate(message.get("sample_rate"), rate)


def _rate(stated: object, default: int) -> int:
    """A rate as it was stated: a number, or a string of digits in a URL."""
    if stated is None:
        return default
    if isinstance(stated, str) and stated.isascii() and stated.isdigit() and len(stated) < 10:
        return int(stated)
    if isinstance(stated, int | float) and not isinstance(stated, bool) and float(stated).is_integer():
        return int(stated)
    raise SampleRateError(f"sample_rate is {stated!r}; a whole number of Hz was expected.")


def _refusal(error: ClaprtError) -> str:
    return json.dumps({"status": "ERROR", "message": str(error)})
