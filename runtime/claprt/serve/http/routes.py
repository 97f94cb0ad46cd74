"""The HTTP endpoints: embeddings, classification, tags, data for the page, behaviour descriptors, the list of models.

Each reads its body whole, is admitted, and works as long as the client is connected.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response

from claprt.bundle.graphs import Stage
from claprt.errors import ClaprtError, OptionError
from claprt.scoring.vocabulary import unknown_labels
from claprt.serve.errors import retry_after, status_of
from claprt.serve.http.embeddings import embed
from claprt.serve.http.openapi import HttpEndpoint
from claprt.serve.http.page_data import page_data
from claprt.serve.http.request_bodies import (
    FORM,
    JSON,
    check_media_type,
    json_response,
    read_form,
    read_json,
    split_labels,
    times_of,
    while_connected,
)
from claprt.serve.projection import encode_error, project
from claprt.serve.scheduling.audio_input import AudioInput, Encoding
from claprt.serve.scheduling.models import Models
from claprt.serve.scheduling.service import Service
from claprt.serve.scheduling.zero_shot import ZeroShotRequest, answer
from claprt.serve.schemas import (
    AnalyseForm,
    ClassifyForm,
    ClassifyRequest,
    EmbeddingsReply,
    EmbeddingsRequest,
    ProjectRequest,
    TagForm,
    TagRequest,
    decode_json,
)


@dataclass(frozen=True, slots=True)
class _Task:
    """Differences between classification and tagging."""

    mode: Literal["classify", "tag"]
    labels: str
    json: type[ClassifyRequest | TagRequest]
    form: type[ClassifyForm | TagForm]


_CAPABILITIES = {Stage.TEXT: "embed", Stage.AUDIO: "audio_embed"}
_CLASSIFY = _Task("classify", "labels", ClassifyRequest, ClassifyForm)
_TAG = _Task("tag", "tags", TagRequest, TagForm)


class HttpApi:
    """Handlers of the endpoints; their docstrings are in the OpenAPI document."""

    def __init__(self, models: Models) -> None:
        self._models, self._service = models, models.default
        self._listed = {name: _listed(service) for name, service in models.services.items()}

    def endpoints(self) -> list[HttpEndpoint]:
        """All endpoints; those of OpenAI's API at infinity's paths too, whose prefix is empty by default."""
        endpoints = list[HttpEndpoint]()
        for prefix in ("/v1", ""):
            embeddings = partial(
                HttpEndpoint, "POST", json=EmbeddingsRequest, reply=EmbeddingsReply, is_documented=bool(prefix)
            )
            endpoints += [
                HttpEndpoint("GET", f"{prefix}/models", self.models, is_documented=bool(prefix)),
                HttpEndpoint("GET", f"{prefix}/models/{{name:path}}", self.model, is_documented=bool(prefix)),
                HttpEndpoint("GET", f"{prefix}/health", self.health, is_documented=False),
                embeddings(f"{prefix}/embeddings", self.embeddings),
                embeddings(f"{prefix}/embeddings_audio", self.embeddings_audio),
            ]
        return [
            *endpoints,
            HttpEndpoint("POST", "/classify", self.classify, ClassifyRequest, ClassifyForm),
            # infinity's path for its own classification, so that its clients get an error that says what is expected
            HttpEndpoint("POST", "/v1/classify", self.classify, is_documented=False),
            HttpEndpoint("POST", "/tag", self.tag, TagRequest, TagForm),
            HttpEndpoint("POST", "/analyse", self.analyse, form=AnalyseForm),
            HttpEndpoint("POST", "/project", self.project, ProjectRequest),
        ]

    async def models(self, _: Request) -> Response:
        """The models, in OpenAI's shape."""
        return json_response({"object": "list", "data": list(self._listed.values())})

    async def model(self, request: Request) -> Response:
        """A model by its name."""
        name = request.path_params["name"]
        if name not in self._listed:
            raise self._models.unknown(name)
        return json_response(self._listed[name])

    async def health(self, _: Request) -> Response:
        """Whether the process answers, as infinity replies."""
        return json_response({"unix": time.time()})

    async def embeddings(self, request: Request) -> Response:
        """Embeddings of texts or audio, in OpenAI's shape. Addresses and paths are never opened."""
        return await embed(self._models, request)

    async def embeddings_audio(self, request: Request) -> Response:
        """Embeddings of audio, at the path that infinity had before it had modalities."""
        return await embed(self._models, request, "audio")

    async def classify(self, request: Request) -> Response:
        """How well labels fit audio: cosines, logits, and probabilities among these labels."""
        return await self._zero_shot(request, _CLASSIFY)

    async def tag(self, request: Request) -> Response:
        """Which tags audio has, each with a probability of its own."""
        return await self._zero_shot(request, _TAG)

    async def analyse(self, request: Request) -> Response:
        """Data for the page: waveform, log-mel of the first window, and a classification or tags if there are labels."""
        check_media_type(request, FORM)
        form, service = await read_form(request), self._service
        times = times_of(request)

        def decoded() -> ZeroShotRequest:
            fields = form.to_struct(AnalyseForm, "labels")
            labels = split_labels(fields.labels or [], service.limits.texts)
            return ZeroShotRequest(audio=form.audio, mode=fields.mode or "classify", labels=labels, **_options(fields))

        async def work() -> Response:
            zero_shot = await service.threads.run(decoded)
            outcome = await answer(service, zero_shot, times)
            # decodes the file a second time, which keeps pictures out of the scheduler
            data = await service.batcher.read(lambda pause: page_data(service.clap, form.audio, service.limits, pause))
            data["sound"]["windows"] = len(outcome.embedding.sound.windows)
            facts = {"mode": zero_shot.mode, "result": outcome.result, "batch": outcome.embedding.batch, **service.facts()}
            untrained = unknown_labels(zero_shot.labels, service.clap.manifest.source.trained_words)
            return json_response({**data, **facts, "untrained_labels": untrained, "timings_ms": times.to_dict()})

        with service.admit(form.size):
            return await while_connected(request, work())

    async def project(self, request: Request) -> Response:
        """Behaviour descriptors of embeddings, in the format of kromosynth's projection service."""
        body, service = await read_json(request), self._service
        try:
            service.check_projection()
            with service.admit(len(body)):
                work = service.threads.run(lambda: project(service.clap, body, service.limits))
                return Response(await while_connected(request, work), media_type=JSON)
        except ClaprtError as error:
            status = status_of(error)
            return Response(encode_error(error), status, retry_after(status), media_type=JSON)

    async def _zero_shot(self, request: Request, task: _Task) -> Response:
        """Classify or tag the audio of a request in JSON or in a form."""
        most = self._service.limits.texts
        if check_media_type(request, JSON, FORM) == JSON:
            body = await request.body()

            def from_json() -> ZeroShotRequest:
                fields = decode_json(body, task.json, most)
                return _zero_shot_request(task, fields, AudioInput(fields.audio, encoding=Encoding.BASE64), most)

            return await self._answer(request, len(body), from_json)
        form = await read_form(request)
        return await self._answer(
            request,
            form.size,
            lambda: _zero_shot_request(task, form.to_struct(task.form, task.labels), form.audio, most),
        )

    async def _answer(self, request: Request, size: int, decoded: Callable[[], ZeroShotRequest]) -> Response:
        times = times_of(request)

        async def work() -> Response:
            zero_shot = await self._models.shared.threads.run(decoded)
            service = self._models.choose(zero_shot.model)
            outcome = await answer(service, zero_shot, times)
            result = outcome.result or {}
            return json_response({**result, "fingerprint": service.clap.fingerprint, "timings_ms": times.to_dict()})

        with self._service.admit(size):
            return await while_connected(request, work())


def _listed(service: Service) -> dict[str, Any]:
    """A model as clients of OpenAI's API and infinity's read it."""
    return {
        "id": service.name,
        "object": "model",
        "owned_by": "infinity",
        "created": 0,
        "backend": service.clap.provider,
        "capabilities": [_CAPABILITIES[tower] for tower in (Stage.TEXT, Stage.AUDIO) if tower in service.towers],
        "stats": {},
    }


def _zero_shot_request(task: _Task, fields: Struct, audio: AudioInput, most: int) -> ZeroShotRequest:
    labels = split_labels(getattr(fields, task.labels), most)
    if not labels:
        raise OptionError(f"{task.labels} is empty; give at least one {task.labels.removesuffix('s')}.")
    return ZeroShotRequest(audio=audio, mode=task.mode, labels=labels, **_options(fields))


def _options(fields: Struct) -> dict[str, Any]:
    """Options that a request states; `ZeroShotRequest` has the defaults."""
    stated = {name: getattr(fields, name, None) for name in ("template", "top_k", "threshold", "model")}
    return {name: value for name, value in stated.items() if value is not None}
