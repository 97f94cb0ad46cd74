"""`/v1/embeddings`: texts or sounds to vectors, in the shape that OpenAI gave it and infinity extended to sounds.

What an input is follows from `modality`. Where that is left out, an input is a text, as in both; but one that can only be
meant as a sound is not embedded as words: `data:audio/…` URIs are sounds, addresses and files in base64 are refused.
"""

from __future__ import annotations

import base64
import re
import time
from typing import Any, Literal
from uuid import uuid4

import msgspec
import numpy as np
from fastapi import Request
from fastapi.responses import Response

from claprt.arrays import Embedding
from claprt.audio.files.containers import Reader, recognise
from claprt.errors import AudioDecodeError, OptionError
from claprt.serve.base64_audio import Base64Error, from_uri
from claprt.serve.errors import ShapeError
from claprt.serve.http.request_bodies import in_json, json_body, while_connected
from claprt.serve.scheduling.features import Given, Load
from claprt.serve.scheduling.service import Service
from claprt.serve.schemas import EmbeddingsRequest, TokensRequest, decoded
from claprt.text.tokenizer import Tokenizer

Modality = Literal["text", "audio"]

_URI = re.compile(r"\s{0,60}data:([\w.+-]+/[\w.+-]+)?[^,]{0,200},", re.IGNORECASE)
_ADDRESS = re.compile(r"(https?|file|s3|gs|ftp|blob)://\S+\Z", re.IGNORECASE)
_BASE64 = re.compile(r"[A-Za-z0-9+/]{64}")
_SOUNDS = ("audio/", "video/", "application/octet-stream", "application/ogg")


class NotDecodedError(AudioDecodeError, ShapeError):
    """An input is not the base64 that it is stated to be."""


async def embedded(service: Service, request: Request, modality: Modality | None = None) -> Response:
    """The reply to a request.

    Args:
        service: what embeds.
        request: with a body in JSON.
        modality: of the endpoint, whatever the request states.

    Raises:
        ClaprtError: if it is not understood, or an input cannot be embedded.
    """
    body, limits = await json_body(request), service.limits

    async def answered() -> Response:
        wanted = await service.batcher.aside(lambda: _understood(service, body, modality))
        given = [wanted.input] if isinstance(wanted.input, str) else wanted.input
        if (dimensions := wanted.dimensions or 0) > service.clap.dim:
            raise OptionError(f"dimensions may be 1 to {service.clap.dim}, or 0 for all; got {dimensions}.")
        if not given:
            most = f"{limits.texts} texts" if wanted.modality == "text" else f"{limits.sounds} sounds"
            raise ShapeError(f"input is empty; there may be 1 to {most} in one request.")
        if wanted.modality == "text":
            rows, tokens = list(await service.texts(given)), await service.batcher.tokens(given)
        else:
            rows, tokens = await service.vectors([_sound(text) for text in given]), 0
        rows = [row[: dimensions or None] for row in rows]
        how = wanted.encoding_format or "float"
        return in_json(await service.batcher.aside(lambda: _reply(service, rows, tokens, how)))

    with service.places.taken(len(body)):
        return await while_connected(request, answered())


def _understood(service: Service, body: bytes, modality: Modality | None) -> EmbeddingsRequest:
    """A request whose modality is known.

    Raises:
        OptionError: if an input without modality is not a text.
        ShapeError: if it has another shape, or holds token ids of another tokenizer.
    """
    try:
        wanted = decoded(body, EmbeddingsRequest, service.limits.texts)
    except ShapeError as error:
        if modality == "audio" or "$.input" not in str(error) or (wanted := _of_tokens(service, body)) is None:
            raise
    given = [wanted.input] if isinstance(wanted.input, str) else wanted.input
    wanted.modality = modality or wanted.modality or _modality(given)
    return wanted


def _modality(given: list[str]) -> Modality:
    """What inputs are where nothing is stated."""
    kinds = [_kind(text) for text in given]
    if given and all(kind == "audio" for kind in kinds):
        return "audio"
    for position, kind in enumerate(kinds):
        if kind != "text":
            where = f"input {position}" if len(given) > 1 else "input"
            what = "a sound in a data: URI, beside texts" if kind == "audio" else kind
            raise OptionError(
                f'{where} looks like {what}. Send "modality": "audio" with sounds in base64 (addresses are not opened), or '
                '"modality": "text" where it is meant as words.'
            )
    return "text"


def _kind(text: str) -> str:
    """`text`, `audio`, or what else an input looks like."""
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


def _of_tokens(service: Service, body: bytes) -> EmbeddingsRequest | None:
    """A request with token ids as one with texts, or None where it holds neither.

    Ids alone do not say of which tokenizer they are: nearly all of another's are in the vocabulary of this one. So they are
    taken where they are what this model's tokenizer makes of some text, marks of beginning and end included.

    Raises:
        ShapeError: if they are of another tokenizer, or there are more than texts may have.
    """
    most = service.limits.texts * (service.clap.manifest.text.max_tokens + 2) + 64
    if body.count(b",") > most:
        raise ShapeError(
            f"There may be up to {service.limits.texts} texts in one request; input holds more token ids than those."
        )
    try:
        wanted = decoded(body, TokensRequest, service.limits.texts)
    except ShapeError:
        return None
    one = [ids for ids in wanted.input if isinstance(ids, int)]
    rows = [one] if one else [ids for ids in wanted.input if isinstance(ids, list)]
    found = [text for ids in rows if (text := _text_of(service, ids)) is not None]
    if len(found) < len(rows) or not found or len(one) not in (0, len(wanted.input)):
        raise ShapeError(
            "input holds token ids that are not what this model's own tokenizer makes of a text, from <s> to </s>; send "
            "the texts themselves. (LangChain's OpenAIEmbeddings sends ids of another tokenizer; it sends texts with "
            "check_embedding_ctx_len=False.)"
        )
    return EmbeddingsRequest(
        input=found,
        encoding_format=wanted.encoding_format,
        dimensions=wanted.dimensions,
        modality="text",
    )


def _text_of(service: Service, ids: list[int]) -> str | None:
    tokenizer = service.clap.tokenizer
    return tokenizer.text_of(ids) if isinstance(tokenizer, Tokenizer) else None


def _sound(text: str) -> Load:
    def load() -> Given:
        try:
            return Given(from_uri(text))
        except Base64Error as error:
            raise NotDecodedError(str(error)) from error

    return load


def _reply(service: Service, rows: list[Embedding], tokens: int, how: str) -> dict[str, Any]:
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
