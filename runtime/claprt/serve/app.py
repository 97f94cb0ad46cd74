"""The ASGI application: WebSocket `/clap`, HTTP for embeddings and classification, health and metrics."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import FastAPI, Form, Request, UploadFile
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse, Response
from pydantic import BaseModel, Field
from starlette.routing import WebSocketRoute

from claprt.errors import AudioDecodeError, ClaprtError, OptionError, ServerUnavailableError
from claprt.model import Clap
from claprt.serve.batcher import Batcher, OverloadedError
from claprt.serve.limits import Limits
from claprt.serve.socket import DEFAULT_RATE, KromosynthSocket, allowed
from claprt.tasks import checked_labels, classification, filled_in

_OPEN = frozenset({"/healthz", "/readyz"})


class EmbeddingsRequest(BaseModel):
    """The OpenAI shape, as infinity serves it for texts and sounds."""

    input: str | list[str]
    """Texts; or sounds as base64 of a file, with or without `data:…;base64,` in front."""
    modality: Literal["text", "audio"] = "text"
    model: str | None = None
    encoding_format: Literal["float", "base64"] = "float"


class ClassifyRequest(BaseModel):
    """A sound as base64 of a file, and labels."""

    audio: str
    labels: list[str]
    template: str | None = None
    top_k: int = Field(1, ge=1)


def create_app(
    clap: Clap, *, limits: Limits | None = None, sample_rate: int = DEFAULT_RATE, token: str | None = None
) -> FastAPI:
    """The application around a loaded model.

    Args:
        clap: what embeds; load it with `preprocess="kromosynth"` to be kromosynth's drop-in.
        limits: how much a request may ask for.
        sample_rate: of binary frames at `/clap`, in Hz.
        token: bearer token that every request but those for health has to carry.
    """
    bounds = limits or Limits()
    batcher = Batcher(clap, bounds)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        batcher.prepare()
        app.state.ready = True
        yield
        app.state.ready = False
        batcher.close()

    app = FastAPI(title="claprt", version=clap.manifest.name, lifespan=lifespan)
    app.state.ready = False
    app.state.batcher = batcher
    app.router.routes.append(WebSocketRoute("/clap", KromosynthSocket(batcher, sample_rate, token).connection))
    _guard(app, bounds, token)
    _explain(app)
    _answer_health(app, batcher)
    _answer_questions(app, batcher, bounds)
    return app


def _guard(app: FastAPI, limits: Limits, token: str | None) -> None:
    """Refuses bodies that are too large before they are read, and requests without the token."""

    @app.middleware("http")
    async def guarded(request: Request, answer: Callable[[Request], Awaitable[Response]]) -> Response:
        if request.url.path not in _OPEN and not allowed(request.headers, token):
            return _error(401, "A bearer token is needed.")
        length = request.headers.get("content-length", "0")
        if request.method == "POST" and "content-length" not in request.headers:
            return _error(411, "State the length of the request.")
        if not length.isdigit() or int(length) > limits.message_bytes:
            return _error(413, f"A request may have up to {limits.message_bytes} bytes.")
        return await answer(request)


def _explain(app: FastAPI) -> None:
    """Errors as JSON with our sentences and without tracebacks."""

    async def ours(_: Request, error: Exception) -> JSONResponse:
        if isinstance(error, OverloadedError | ServerUnavailableError):
            return _error(503, str(error), {"retry-after": "1"})
        return _error(400, str(error))

    async def shape(_: Request, error: Exception) -> JSONResponse:
        found = error.errors() if isinstance(error, RequestValidationError) else []
        parts = [f"{'.'.join(map(str, part['loc'][1:]))}: {part['msg']}" for part in found]
        return _error(422, "; ".join(parts) or "The request is not understood.")

    async def bug(_: Request, __: Exception) -> JSONResponse:
        return _error(500, "The service failed; its log says how.")

    app.add_exception_handler(ClaprtError, ours)
    app.add_exception_handler(RequestValidationError, shape)
    app.add_exception_handler(Exception, bug)


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": {"message": message}}, status, headers)


def _answer_health(app: FastAPI, batcher: Batcher) -> None:
    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """Whether the process answers."""
        return "ok"

    @app.get("/readyz")
    async def readyz() -> JSONResponse:
        """Whether the model is loaded, and which."""
        clap = batcher.clap
        facts = {"model": clap.manifest.name, "fingerprint": clap.fingerprint, "provider": clap.provider}
        return JSONResponse(facts, 200 if app.state.ready else 503)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> str:
        """Counters and gauges in Prometheus' format."""
        found = {"waiting": "gauge", "runs": "counter", "windows": "counter"}
        lines = [f"# TYPE claprt_{name} {kind}\nclaprt_{name} {getattr(batcher, name)}" for name, kind in found.items()]
        return "\n".join(lines) + "\n"


def _answer_questions(app: FastAPI, batcher: Batcher, limits: Limits) -> None:
    @app.post("/v1/embeddings")
    async def embeddings(request: EmbeddingsRequest) -> dict[str, Any]:
        """Vectors of texts or sounds."""
        given = [request.input] if isinstance(request.input, str) else request.input
        most = limits.texts if request.modality == "text" else limits.sounds
        if not 1 <= len(given) <= most:
            raise OptionError(f"input may be 1 to {most} {request.modality}s; got {len(given)}.")
        if request.modality == "text":
            rows = list(await batcher.texts(given))
        else:
            rows = [(await batcher.sound(decoded(sound))).vector for sound in given]
        data = [
            {"object": "embedding", "index": index, "embedding": _encoded(np.asarray(row), request.encoding_format)}
            for index, row in enumerate(rows)
        ]
        usage = {"prompt_tokens": 0, "total_tokens": 0}
        return {"object": "list", "data": data, "model": batcher.clap.manifest.name, "usage": usage}

    async def classified(audio: bytes, labels: list[str], template: str | None, top_k: int) -> dict[str, Any]:
        names = checked_labels(labels)
        if len(names) > limits.texts:
            raise OptionError(f"There may be up to {limits.texts} labels; got {len(names)}.")
        texts = await batcher.texts(filled_in(template, names))
        sound = await batcher.sound(audio)
        assert sound.vector is not None
        result = classification(batcher.clap, sound.vector, texts, names, top_k)
        return {**result.to_dict(), "fingerprint": batcher.clap.fingerprint}

    @app.post("/classify")
    async def classify(request: ClassifyRequest) -> dict[str, Any]:
        """How well labels fit a sound."""
        return await classified(decoded(request.audio), request.labels, request.template, request.top_k)

    @app.post("/classify/file")
    async def classify_file(
        file: UploadFile,
        labels: Annotated[str, Form()],
        template: Annotated[str | None, Form()] = None,
        top_k: Annotated[int, Form(ge=1)] = 1,
    ) -> dict[str, Any]:
        """The same for a form: a file, and labels as JSON or separated by commas."""
        return await classified(await file.read(), split(labels), template, top_k)


def decoded(text: str) -> bytes:
    """The bytes of a file in base64, with or without `data:…;base64,` in front. Addresses are not opened.

    Raises:
        AudioDecodeError: it is not base64.
    """
    if text.startswith(("http:", "https:", "file:", "/")):
        raise AudioDecodeError("Addresses and paths are not opened; send the file itself in base64.")
    _, _, content = text.partition(",") if text.startswith("data:") else ("", "", text)
    try:
        return base64.b64decode(content, validate=True)
    except (binascii.Error, ValueError) as error:
        raise AudioDecodeError(f"The sound is not base64: {error}.") from error


def split(labels: str) -> list[str]:
    """Labels of a form: a JSON list, or words with commas between them.

    Example:
        >>> split('["rain, heavy", "dog"]'), split("rain, dog")
        (['rain, heavy', 'dog'], ['rain', 'dog'])
    """
    if labels.lstrip().startswith("["):
        try:
            found: Any = json.loads(labels)
        except ValueError as error:
            raise OptionError(f"labels is not JSON: {error}.") from error
        return list(found)
    return [label.strip() for label in labels.split(",") if label.strip()]


def _encoded(row: np.ndarray[Any, Any], how: str) -> list[float] | str:
    return row.tolist() if how == "float" else base64.b64encode(row.astype("<f4").tobytes()).decode()
