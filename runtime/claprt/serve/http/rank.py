"""`POST /rank`: how well each of several sounds fits each of several texts, and the order of the sounds for each text."""

from __future__ import annotations

from typing import Annotated

import numpy as np
from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from claprt.bundle.graphs import Stage
from claprt.scoring.classification import as_cosines
from claprt.serve.base64_audio import Base64Error
from claprt.serve.errors import ShapeError
from claprt.serve.http.openapi import HttpEndpoint
from claprt.serve.http.request_bodies import json_response, read_json, while_connected
from claprt.serve.limits import check_count
from claprt.serve.scheduling.audio_input import AudioInput, Encoding
from claprt.serve.scheduling.models import Models
from claprt.serve.schemas import ModelName, Unread, decode_json


class RankRequest(Struct, kw_only=True, forbid_unknown_fields=True):
    """Texts and sounds."""

    texts: Annotated[str | list[str], Meta(description="one or several texts")]
    sounds: Annotated[str | list[str], Meta(description="audio files in base64 or as `data:` URIs")]
    model: ModelName = None
    user: Unread = None


class RankReply(Struct, kw_only=True):
    """Scores and orders."""

    scores: Annotated[list[list[float]], Meta(description="cosines, a row for each text, a column for each sound")]
    order: Annotated[list[list[int]], Meta(description="for each text the positions of the sounds, best first")]
    fingerprint: str


class RankApi:
    """The handler of the endpoint; its docstring is in the OpenAPI document."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def endpoints(self) -> list[HttpEndpoint]:
        """The endpoint."""
        return [HttpEndpoint("POST", "/rank", self.rank, RankRequest, reply=RankReply)]

    async def rank(self, request: Request) -> Response:
        """Cosines of every text with every sound, and the sounds in order of each text, best first."""
        body, shared = await read_json(request), self._models.shared
        for tower in (Stage.TEXT, Stage.AUDIO):
            self._models.default.check_tower(tower)

        async def work() -> Response:
            limits = shared.limits
            most = limits.texts + limits.sounds
            given = await shared.threads.run(lambda: decode_json(body, RankRequest, most))
            service = self._models.choose(given.model)
            texts, sounds = _listed(given.texts), _listed(given.sounds)
            check_count(len(sounds), limits.sounds, "sounds")  # before texts cost anything
            of_texts = await service.embed_texts(texts)
            try:
                inputs = [AudioInput(sound, encoding=Encoding.BASE64) for sound in sounds]
                of_sounds = np.stack(await service.embed_all(inputs, "sound"))
            except Base64Error as error:
                raise ShapeError(str(error)) from error

            def reply() -> Response:
                cosines = as_cosines(of_texts @ of_sounds.T)
                return json_response(
                    RankReply(
                        scores=cosines.tolist(),
                        order=np.argsort(-cosines, axis=1, kind="stable").tolist(),
                        fingerprint=service.clap.fingerprint,
                    )
                )

            return await shared.threads.run(reply)

        with self._models.default.admit(len(body)):
            return await while_connected(request, work())


def _listed(values: str | list[str]) -> list[str]:
    return [values] if isinstance(values, str) else values
