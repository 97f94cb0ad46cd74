"""`GET /v1/space`: which embedding space the service's vectors are in, as a document that clients keep beside vectors."""

from __future__ import annotations

from collections.abc import Collection
from typing import Annotated

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from claprt.bundle.fingerprint import fingerprint_of, text_fingerprint_of
from claprt.bundle.graphs import Stage
from claprt.model.clap import Clap
from claprt.serve.http.openapi import HttpEndpoint
from claprt.serve.http.request_bodies import json_response
from claprt.serve.scheduling.models import Models

COMPARABLE = {
    "audio with audio": "audio.fingerprint",
    "text with text": "text.fingerprint",
    "audio with text": "fingerprint",
}
"""Which member of two documents has to be equal for vectors of both to be comparable."""


class Checkpoint(Struct, kw_only=True):
    """The weights."""

    name: str
    sha256: Annotated[str, Meta(description="of the checkpoint's file; of the seed's description for untrained weights")]
    layout: str
    trained: Annotated[bool, Meta(description="false: the vectors mean nothing")]
    repository: str | None
    revision: str | None
    licence: str | None


class AudioSide(Struct, kw_only=True):
    """Vectors of sounds."""

    fingerprint: str
    recipe: Annotated[str, Meta(description="preprocessing: laion, transformers or kromosynth")]
    long: Annotated[str, Meta(description="treatment of sounds longer than a window")]
    precision: str
    sample_rate: Annotated[int, Meta(description="of the model, in Hz; sounds may have any")]
    window_s: float


class TextSide(Struct, kw_only=True):
    """Vectors of texts."""

    fingerprint: str
    precision: str
    max_tokens: int


class SpaceReply(Struct, kw_only=True):
    """The space of a model's vectors."""

    object: str = "space"
    model: str
    checkpoint: Checkpoint
    dim: int
    metric: str = "cosine"
    unit_length: bool = True
    fingerprint: Annotated[str, Meta(description="of both sides together, as in other replies")]
    audio: Annotated[AudioSide | None, Meta(description="null where the service embeds texts only")]
    text: Annotated[TextSide | None, Meta(description="null where the service embeds sounds only")]
    comparable: Annotated[
        dict[str, str], Meta(description="which member of two such documents has to be equal for vectors to be comparable")
    ]


def space_of(clap: Clap, towers: Collection[Stage]) -> SpaceReply:
    """Describe the space of a model's vectors, of which a service has those of some towers."""
    manifest, source = clap.manifest, clap.manifest.source
    of_audio, _, of_text = clap.precision.partition("+")
    of_text = of_text or of_audio
    audio = AudioSide(
        fingerprint=fingerprint_of(manifest, clap.recipe.name, clap.long.label, of_audio),
        recipe=clap.recipe.name,
        long=clap.long.label,
        precision=of_audio,
        sample_rate=clap.sample_rate,
        window_s=manifest.audio.window_s,
    )
    text = TextSide(
        fingerprint=text_fingerprint_of(manifest, of_text), precision=of_text, max_tokens=manifest.text.max_tokens
    )
    return SpaceReply(
        model=manifest.name,
        checkpoint=Checkpoint(
            name=source.name,
            sha256=source.sha256,
            layout=source.layout,
            trained=source.trained,
            repository=source.repository,
            revision=source.revision,
            licence=source.licence,
        ),
        dim=clap.dim,
        fingerprint=clap.fingerprint,
        audio=audio if Stage.AUDIO in towers else None,
        text=text if Stage.TEXT in towers else None,
        comparable=COMPARABLE,
    )


class SpaceApi:
    """The handler of the endpoint; its docstring is in the OpenAPI document."""

    def __init__(self, models: Models) -> None:
        self._service = models.default

    def endpoints(self) -> list[HttpEndpoint]:
        """The endpoint."""
        return [HttpEndpoint("GET", "/v1/space", self.space, reply=SpaceReply)]

    async def space(self, _: Request) -> Response:
        """The embedding space: model, checkpoint, preprocessing, fingerprints, and which vectors are comparable."""
        return json_response(space_of(self._service.clap, self._service.towers))
