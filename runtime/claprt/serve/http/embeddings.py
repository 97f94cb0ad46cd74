"""`/v1/embeddings`: texts or audio to vectors, in OpenAI's format, which infinity extended to audio.

`modality` says what the inputs are. By default they are texts, as in both APIs, except inputs that are clearly audio:
`data:audio/…` URIs are embedded as audio; addresses and files in base64 are refused.
"""

from __future__ import annotations

import base64
import re
import time
from typing import Any, Literal
from uuid import uuid4

import numpy as np
from starlette.requests import Request
from starlette.responses import Response

from claprt.arrays import Embedding
from claprt.audio.files.containers import Reader, recognise
from claprt.bundle.graphs import Stage
from claprt.errors import AudioDecodeError, OptionError
from claprt.serve.base64_audio import Base64Error
from claprt.serve.errors import ShapeError
from claprt.serve.http.quantised import check_format, encode_vector
from claprt.serve.http.request_bodies import json_response, read_json, while_connected
from claprt.serve.scheduling.audio_input import AudioInput, Encoding
from claprt.serve.scheduling.models import Models
from claprt.serve.scheduling.service import Service
from claprt.serve.schemas import EmbeddingsRequest, TokensRequest, VectorFormat, decode_json
from claprt.text.tokenizer import Tokenizer

Modality = Literal["text", "audio"]

_URI = re.compile(r"\s{0,60}data:([\w.+-]+/[\w.+-]+)?[^,]{0,200},", re.IGNORECASE)
_ADDRESS = re.compile(r"(https?|file|s3|gs|ftp|blob)://\S+\Z", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/]{64}")
_SOUNDS = ("audio/", "video/", "application/octet-stream", "application/ogg")


class NotDecodedError(AudioDecodeError, ShapeError):
    """An audio input is not valid base64."""


async def embed(models: Models, request: Request, modality: Modality | None = None) -> Response:
    """Answer a request for embeddings.

    Args:
        models: The models that a request can name.
        request: With a body in JSON.
        modality: Modality of the endpoint, whatever the request states.

    Raises:
        ClaprtError: If the request is invalid, or an input cannot be embedded.
    """
    body, shared = await read_json(request), models.shared
    limits = shared.limits

    async def work() -> Response:
        wanted = await shared.threads.run(lambda: _decode(models, body, modality))
        service, inputs = models.choose(wanted.model), _inputs(wanted)
        service.check_tower(Stage.TEXT if wanted.modality == "text" else Stage.AUDIO)
        if (dimensions := wanted.dimensions or 0) > service.clap.dim:
            raise OptionError(f"dimensions may be 1 to {service.clap.dim}, or 0 for all; got {dimensions}.")
        encoding = wanted.encoding_format or "float"
        check_format(encoding, dimensions or service.clap.dim)
        if not inputs:
            most = f"{limits.texts} texts" if wanted.modality == "text" else f"{limits.sounds} sounds"
            raise ShapeError(f"input is empty; there may be 1 to {most} in one request.")
        if wanted.modality == "text":
            rows, tokens = list(await service.embed_texts(inputs)), await service.batcher.count_tokens(inputs)
        else:
            rows, tokens = await _embed_audio(service, inputs), 0
        rows = [row[: dimensions or None] for row in rows]
        return json_response(await shared.threads.run(lambda: _reply(service, rows, tokens, encoding)))

    with models.default.admit(len(body)):
        return await while_connected(request, work())


async def _embed_audio(service: Service, inputs: list[str]) -> list[Embedding]:
    try:
        return await service.embed_all([AudioInput(text, encoding=Encoding.BASE64) for text in inputs])
    except Base64Error as error:
        raise NotDecodedError(str(error)) from error


def _decode(models: Models, body: bytes, modality: Modality | None) -> EmbeddingsRequest:
    """Decode a request, and determine its modality.

    Raises:
        OptionError: If an input without modality is not a text.
        ShapeError: If it has another shape, or token ids of another tokenizer.
        NotFoundError: If it has token ids, and names no model that there is.
    """
    try:
        wanted = decode_json(body, EmbeddingsRequest, models.shared.limits.texts)
    except ShapeError as error:
        if modality == "audio" or "$.input" not in str(error) or (wanted := _from_tokens(models, body)) is None:
            raise
    wanted.modality = modality or wanted.modality or _modality(_inputs(wanted))
    return wanted


def _inputs(wanted: EmbeddingsRequest) -> list[str]:
    return [wanted.input] if isinstance(wanted.input, str) else wanted.input


def _modality(inputs: list[str]) -> Modality:
    """The modality of inputs where none is stated.

    Raises:
        OptionError: If an input is neither clearly text nor one of several audio inputs.
    """
    kinds = [_kind(text) for text in inputs]
    if inputs and all(kind == "audio" for kind in kinds):
        return "audio"
    for position, kind in enumerate(kinds):
        if kind != "text":
            where = f"input {position}" if len(inputs) > 1 else "input"
            what = "a sound in a data: URI, beside texts" if kind == "audio" else kind
            raise OptionError(
                f'{where} looks like {what}. Send "modality": "audio" with sounds in base64 (addresses are not opened), or '
                '"modality": "text" where it is meant as words.'
            )
    return "text"


def _kind(text: str) -> str:
    """`text`, `audio`, or what an input looks like instead."""
    if (uri := _URI.match(text[:300])) is not None and (uri[1] or "base64" in uri[0].lower()):
        stated = (uri[1] or _SOUNDS[0]).lower()
        return "audio" if stated.startswith(_SOUNDS) else f"a data: URI of {stated}"
    if len(text) < 4096 and _ADDRESS.match(text):
        return "an address"
    if _BASE64.match(text):
        container = recognise(base64.b64decode(text[:64]))
        if container is not None and container.reader is not Reader.NONE:
            return f"a file in base64: {container.name}"
    return "text"


def _from_tokens(models: Models, body: bytes) -> EmbeddingsRequest | None:
    """Convert a request with token ids to one with texts; None if it has neither.

    Token ids do not identify their tokenizer: nearly all ids of another one are in this vocabulary too. So they are
    accepted if this model's tokenizer produces them from some text, start and end tokens included.

    Raises:
        ShapeError: If they are of another tokenizer, or more than texts may have.
        NotFoundError: If there is no model of the name that it states.
    """
    texts = models.shared.limits.texts
    most = texts * (max(service.clap.manifest.text.max_tokens for service in models.services.values()) + 2) + 64
    if body.count(b",") > most:
        raise ShapeError(f"There may be up to {texts} texts in one request; input holds more token ids than those.")
    try:
        wanted = decode_json(body, TokensRequest, texts)
    except ShapeError:
        return None
    service = models.choose(wanted.model)
    one = [ids for ids in wanted.input if isinstance(ids, int)]
    rows = [one] if one else [ids for ids in wanted.input if isinstance(ids, list)]
    words = [text for ids in rows if (text := _text_of(service, ids)) is not None]
    if len(words) < len(rows) or not words or len(one) not in (0, len(wanted.input)):
        raise ShapeError(
            "input holds token ids that are not what this model's own tokenizer makes of a text, from <s> to </s>; send "
            "the texts themselves. (LangChain's OpenAIEmbeddings sends ids of another tokenizer; it sends texts with "
            "check_embedding_ctx_len=False.)"
        )
    return EmbeddingsRequest(
        input=words,
        model=wanted.model,
        encoding_format=wanted.encoding_format,
        dimensions=wanted.dimensions,
        modality="text",
    )


def _text_of(service: Service, ids: list[int]) -> str | None:
    tokenizer = service.clap.tokenizer
    return tokenizer.text_of(ids) if isinstance(tokenizer, Tokenizer) else None


def _reply(service: Service, rows: list[Embedding], tokens: int, encoding: VectorFormat) -> dict[str, Any]:
    data = [
        {"object": "embedding", "index": index, **encode_vector(np.asarray(row), encoding)}
        for index, row in enumerate(rows)
    ]
    return {
        "object": "list",
        "data": data,
        "model": service.name,
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
        "id": f"claprt-{uuid4()}",
        "created": int(time.time()),
    }
