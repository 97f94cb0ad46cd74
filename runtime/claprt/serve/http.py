"""The HTTP endpoints: embeddings, classification, tags, what the page asks, behaviour descriptors, health and metrics.

Each reads its body whole, takes a place, and works for as long as the client is there.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal
from uuid import uuid4

import msgspec
import numpy as np
from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from msgspec import Struct

from claprt.arrays import Embedding
from claprt.errors import ClaprtError, OptionError
from claprt.serve.analysis import picture
from claprt.serve.bodies import form_body, json_body, media_type, times_of, while_connected
from claprt.serve.encoding import from_uri
from claprt.serve.faults import status_of
from claprt.serve.metrics import CONTENT_TYPE
from claprt.serve.projection import projected, refused
from claprt.serve.questions import Question, asked
from claprt.serve.reading import Given, Load, Outline
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
from claprt.serve.service import Service
from claprt.vocabulary import foreign

JSON, FORM = "application/json", "multipart/form-data"


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
    _add_embeddings(app, service)
    _add_tasks(app, service)
    _add_analysis(app, service)
    _add_projection(app, service)


def in_json(content: Any, status: int = 200) -> Response:
    """A reply. msgspec writes numbers several times as fast as `json`, and there are many of them."""
    return Response(msgspec.json.encode(content), status, media_type=JSON)


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


def _add_embeddings(app: FastAPI, service: Service) -> None:
    @app.get("/v1/models")
    async def models() -> dict[str, Any]:
        """The one model, in OpenAI's shape."""
        facts = service.facts()
        one = {"id": facts["model"], "object": "model", "owned_by": "claprt", "created": 0, "backend": facts["provider"]}
        return {"object": "list", "data": [{**one, "capabilities": ["embed", "audio_embed"], "stats": {}}]}

    @app.post("/v1/embeddings", response_model=EmbeddingsReply, openapi_extra=described(EmbeddingsRequest))
    async def embeddings(request: Request) -> Response:
        """Vectors of texts or sounds, in OpenAI's shape. Addresses and paths are never opened."""
        body = await json_body(request)

        async def answered() -> Response:
            wanted = await service.batcher.aside(lambda: decoded(body, EmbeddingsRequest, service.limits.texts))
            given = [wanted.input] if isinstance(wanted.input, str) else wanted.input
            if wanted.dimensions > service.clap.dim:
                raise OptionError(f"dimensions may be 1 to {service.clap.dim}, or 0 for all; got {wanted.dimensions}.")
            if wanted.modality == "text":
                rows, tokens = list(await service.texts(given)), await service.batcher.tokens(given)
            else:
                rows, tokens = await service.vectors([_from_uri(text) for text in given]), 0
            rows = [row[: wanted.dimensions or None] for row in rows]
            return in_json(await service.batcher.aside(lambda: _listed(service, rows, tokens, wanted.encoding_format)))

        with service.places.taken(len(body)):
            return await while_connected(request, answered())


def _from_uri(text: str) -> Load:
    return lambda: Given(from_uri(text))


def _listed(service: Service, rows: list[Embedding], tokens: int, how: str) -> dict[str, Any]:
    data = [
        {"object": "embedding", "index": index, "embedding": _encoded(np.asarray(row), how)}
        for index, row in enumerate(rows)
    ]
    return {
        "object": "list",
        "data": data,
        "model": service.clap.manifest.name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "id": f"claprt-{uuid4()}",
        "created": int(time.time()),
    }


def _encoded(row: Embedding, how: str) -> msgspec.Raw | str:
    """A vector in JSON, one at a time so that others get their turn between them, or in base64."""
    if how == "float":
        return msgspec.Raw(msgspec.json.encode(row.tolist()))
    return base64.b64encode(row.astype("<f4").tobytes()).decode()


def _add_tasks(app: FastAPI, service: Service) -> None:
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
            return _question(task.mode, found, getattr(found, task.words), _from_uri(found.audio))

        return await _reply(service, request, len(body), understood)
    async with form_body(request) as form:

        def read() -> Question:
            found = form.fitted(task.form, task.words, service.limits.texts)
            return _question(task.mode, found, getattr(found, task.words), form.load)

        return await _reply(service, request, form.size, read)


def _question(mode: Literal["classify", "tag"], found: Struct, words: list[str], load: Load) -> Question:
    options = {name: getattr(found, name) for name in ("template", "top_k", "threshold") if hasattr(found, name)}
    return Question(load=load, mode=mode, words=words, **options)


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
                wanted = await service.batcher.aside(lambda: form.fitted(AnalyseForm, "labels", service.limits.texts))
                question = _question(wanted.mode, wanted, wanted.labels, form.load)
                found = await asked(service, question, times, outline)
                drawn = await service.batcher.aside(lambda: picture(service.clap, found.heard, outline))
                untrained = foreign(wanted.labels, service.clap.manifest.source.trained_words)
                facts = {"mode": wanted.mode, "result": found.result, "batch": found.heard.batch, **service.facts()}
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
