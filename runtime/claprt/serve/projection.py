"""The protocol of kromosynth's QDHF projection service (`projection/qdhf/ws_projection_service.py` of kromosynth-evaluate).

`{"embedding": […]}` or `{"embeddings": [[…], …]}` to behaviour descriptors, at `/project`, over WebSocket or as a POST.
It differs from the original in two points: descriptors of several embeddings are the network's own, without noise; and the
service does not train.
"""

from __future__ import annotations

import time
from typing import Any

import msgspec
import numpy as np

from claprt.arrays import Embeddings
from claprt.errors import ClaprtError, OptionError
from claprt.model.clap import Clap
from claprt.serve.limits import Limits
from claprt.serve.scheduling.service import Service
from claprt.serve.schemas import ProjectRequest

_TRAINING = (
    "This service does not train. Train a projection with `claprt-export train-projection`, put it into the bundle, and "
    "start the service again."
)


class Projector:
    """The protocol on one connection."""

    def __init__(self, service: Service) -> None:
        self._service = service

    async def answer(self, message: bytes | str) -> str:
        """Compute the descriptors of a message."""
        service = self._service
        service.check_projection()
        return (await service.threads.run(lambda: project(service.clap, message, service.limits))).decode()

    def error_reply(self, error: ClaprtError) -> str:
        """An error with the original's keys."""
        return encode_error(error).decode()

    def end(self) -> None:
        """The connection has ended; nothing is kept of it."""


def encode_error(error: ClaprtError) -> bytes:
    """Encode an error in JSON, with the original's keys."""
    return msgspec.json.encode({"error": str(error), "type": type(error).__name__})


def project(clap: Clap, message: bytes | str, limits: Limits) -> bytes:
    """Answer a message; both are JSON.

    Raises:
        OptionError: If the message is invalid or too large, or the bundle has no projection.
        ArrayError: If embeddings have another length, or are not finite.
    """
    request = _decode(message, limits.vectors * (clap.dim + 2) + 64)
    if request.type == "train":
        raise OptionError(_TRAINING)
    began = time.perf_counter()
    single = request.embeddings is None
    embeddings = request.embedding if request.embeddings is None else request.embeddings
    if not embeddings:
        raise OptionError("Missing embedding or embeddings in request: a list of numbers, or a list of such lists.")
    if not single and len(embeddings) > limits.vectors:
        raise OptionError(f"There may be up to {limits.vectors} embeddings in one request; got {len(embeddings)}.")
    descriptors = clap.project(_rows(embeddings)).tolist()
    reply: dict[str, Any] = {"behavior_descriptor": descriptors} if single else {"behavior_descriptors": descriptors}
    if not single:
        reply["count"] = len(descriptors)
    reply["inference_time_ms"] = 1000 * (time.perf_counter() - began)
    name, stated = ("sound_id", request.sound_id) if single else ("sound_ids", request.sound_ids)
    return msgspec.json.encode(reply if stated is None else {**reply, name: stated})


def _decode(message: bytes | str, numbers: int) -> ProjectRequest:
    comma = b"," if isinstance(message, bytes) else ","
    if message.count(comma) > numbers:  # pyright: ignore[reportArgumentType] - before each becomes an object of its own
        raise OptionError("There are more numbers in this request than this service takes; send fewer embeddings at once.")
    try:
        return msgspec.json.decode(message, type=ProjectRequest)
    except (msgspec.MsgspecError, RecursionError, UnicodeError) as error:
        raise OptionError(f"The message is not understood: {error}.") from error


def _rows(embeddings: list[float] | list[list[float]]) -> Embeddings:
    try:
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinity, which the projection refuses
            return np.array(embeddings, np.float32)
    except ValueError as error:
        raise OptionError("The rows of embeddings have different lengths.") from error
