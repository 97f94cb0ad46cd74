"""The HTTP endpoints: embeddings, classification, tags, what the page asks, behaviour descriptors, health and metrics.

Each reads its body whole, takes a place, and works for as long as the client is there.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from msgspec import Struct

from claprt.errors import ClaprtError, OptionError
from claprt.serve.base64_audio import from_uri
from claprt.serve.errors import refusal, status_of
from claprt.serve.http.embeddings import embedded
from claprt.serve.http.page_data import picture
from claprt.serve.http.request_bodies import (
    JSON,
    form_body,
    in_json,
    json_body,
    media_type,
    split,
    times_of,
    while_connected,
)
from claprt.serve.metrics import CONTENT_TYPE
from claprt.serve.projection import projected, refused
from claprt.serve.scheduling.features import Given, Load, Outline
from claprt.serve.scheduling.service import Service
from claprt.serve.scheduling.zero_shot import Question, asked
from claprt.serve.schemas import (
    AnalyseForm,
    ClassifyForm,
    ClassifyRequest,
    EmbeddingsReply,
    EmbeddingsRequest,
    ProjectRequest,
    TagForm,
    TagRequest,
    decoded,
    described,
)
from claprt.tasks.vocabulary import foreign

FORM = "multipart/form-data"
_PREFIXES = ("/v1", "")
"""Paths of OpenAI's API, and of infinity's, whose prefix is empty by default."""


@dataclass(frozen=True, slots=True)
class _Task:
    """What differs between questions about a sound."""

    mode: Literal["classify", "tag"]
    words: str
    json: type[ClassifyRequest | TagRequest]
    form: type[ClassifyForm | TagForm]


_CLASSIFY = _Task("classify", "labels", ClassifyRequest, ClassifyForm)
_TAG = _Task("tag", "tags", TagRequest, TagForm)


def add_endpoints(app: FastAPI, service: Service) -> None:
    """Adds all of them."""
    _add_health(app, service)
    _add_models(app, service)
    _add_embeddings(app, service)
    _add_tasks(app, service)
    _add_analysis(app, service)
    _add_projection(app, service)


def _add_health(app: FastAPI, service: Service) -> None:
    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """Whether the process answers."""
        return "ok"

    @app.get("/readyz", responses={503: {"description": "loading, shutting down, or the engine was lost"}})
    async def readyz() -> JSONResponse:
        """Whether the service can answer, and with which model."""
        reason = await service.ready()
        return JSONResponse({"status": reason or "ready", **service.facts()}, 200 if reason is None else 503)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Counters, gauges and histograms in Prometheus' text format."""
        return Response(service.metrics.text(), media_type=CONTENT_TYPE)


def _add_models(app: FastAPI, service: Service) -> None:
    facts = service.facts()
    one = {"id": facts["model"], "object": "model", "owned_by": "infinity", "created": 0, "backend": facts["provider"]}
    one |= {"capabilities": ["embed", "audio_embed"], "stats": {}}

    async def models() -> dict[str, Any]:
        """The one model, in OpenAI's shape."""
        return {"object": "list", "data": [one]}

    async def model(name: str) -> Response:
        """The model by its name."""
        if name != one["id"]:
            return refusal(404, f"There is no model {name[:100]!r} here; there is {one['id']!r}.", "NotFoundError")
        return in_json(one)

    async def health() -> dict[str, float]:
        """Whether the process answers, in infinity's words."""
        return {"unix": time.time()}

    for prefix in _PREFIXES:
        app.add_api_route(f"{prefix}/models", models, include_in_schema=bool(prefix))
        app.add_api_route(f"{prefix}/models/{{name:path}}", model, include_in_schema=bool(prefix))
        app.add_api_route(f"{prefix}/health", health, include_in_schema=False)


def _add_embeddings(app: FastAPI, service: Service) -> None:
    async def embeddings(request: Request) -> Response:
        """Vectors of texts or sounds, in OpenAI's shape. Addresses and paths are never opened."""
        return await embedded(service, request)

    async def embeddings_audio(request: Request) -> Response:
        """Vectors of sounds, at the path that infinity had before there were modalities."""
        return await embedded(service, request, "audio")

    for prefix in _PREFIXES:
        for path, answer in (("/embeddings", embeddings), ("/embeddings_audio", embeddings_audio)):
            app.add_api_route(
                prefix + path,
                answer,
                methods=["POST"],
                response_model=EmbeddingsReply,
                openapi_extra=described(EmbeddingsRequest),
                include_in_schema=bool(prefix),
            )


def _add_tasks(app: FastAPI, service: Service) -> None:
    @app.post("/v1/classify", include_in_schema=False)  # where infinity has its own, so that its clients are told why not
    @app.post("/classify", openapi_extra=described(ClassifyRequest, ClassifyForm))
    async def classify(request: Request) -> Response:
        """How well labels fit a sound: cosines, logits, and their shares among these labels."""
        return await _asked(service, request, _CLASSIFY)

    @app.post("/tag", openapi_extra=described(TagRequest, TagForm))
    async def tag(request: Request) -> Response:
        """Which tags a sound has, each judged by itself."""
        return await _asked(service, request, _TAG)


async def _asked(service: Service, request: Request, task: _Task) -> Response:
    """The reply to a question in JSON or in a form."""
    if media_type(request, JSON, FORM) == JSON:
        body = await request.body()

        def understood() -> Question:
            found = decoded(body, task.json, service.limits.texts)
            return _question(service, task, found, lambda: Given(from_uri(found.audio)))

        return await _reply(service, request, len(body), understood)
    async with form_body(request) as form:

        def read() -> Question:
            return _question(service, task, form.fitted(task.form, task.words), form.load)

        return await _reply(service, request, form.size, read)


def _question(service: Service, task: _Task, found: Struct, load: Load) -> Question:
    words = split(getattr(found, task.words), service.limits.texts)
    if not words:
        raise OptionError(f"{task.words} is empty; give at least one {task.words.removesuffix('s')}.")
    return Question(load=load, mode=task.mode, words=words, **_options(found))


def _options(found: Struct) -> dict[str, Any]:
    """What was stated; the rest is as `Question` has it."""
    stated = {name: getattr(found, name, None) for name in ("template", "top_k", "threshold")}
    return {name: value for name, value in stated.items() if value is not None}


async def _reply(service: Service, request: Request, size: int, understood: Callable[[], Question]) -> Response:
    times = times_of(request)

    async def answered() -> Response:
        found = await asked(service, await service.batcher.aside(understood), times)
        result = found.result or {}
        return in_json({**result, "fingerprint": service.clap.fingerprint, "timings_ms": times.to_dict()})

    with service.places.taken(size):
        return await while_connected(request, answered())


def _add_analysis(app: FastAPI, service: Service) -> None:
    @app.post("/analyse", openapi_extra=described(form=AnalyseForm))
    async def analyse(request: Request) -> Response:
        """What the page shows: waveform, log-mel of the first window, and the answer to a question if there are labels."""
        media_type(request, FORM)
        async with form_body(request) as form:
            times, outline = times_of(request), Outline()

            async def answered() -> Response:
                wanted = await service.batcher.aside(lambda: form.fitted(AnalyseForm, "labels"))
                words = await service.batcher.aside(lambda: split(wanted.labels or [], service.limits.texts))
                mode = wanted.mode or "classify"
                question = Question(load=form.load, mode=mode, words=words, **_options(wanted))
                found = await asked(service, question, times, outline)
                drawn = await service.batcher.aside(lambda: picture(service.clap, found.heard, outline))
                untrained = foreign(words, service.clap.manifest.source.trained_words)
                facts = {"mode": mode, "result": found.result, "batch": found.heard.batch, **service.facts()}
                return in_json({**drawn, **facts, "untrained_labels": untrained, "timings_ms": times.to_dict()})

            with service.places.taken(form.size):
                return await while_connected(request, answered())


def _add_projection(app: FastAPI, service: Service) -> None:
    @app.post("/project", openapi_extra=described(ProjectRequest))
    async def project(request: Request) -> Response:
        """Behaviour descriptors of embeddings, in the words of kromosynth's projection service."""
        body = await json_body(request)
        try:
            service.check_projection()
            with service.places.taken(len(body)):
                work = service.batcher.aside(lambda: projected(service.clap, body, service.limits))
                return Response(await while_connected(request, work), media_type=JSON)
        except ClaprtError as error:
            return Response(refused(error), status_of(error), media_type=JSON)
