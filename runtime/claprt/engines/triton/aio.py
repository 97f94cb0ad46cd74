"""The engine of a Triton server for programs that are asynchronous: the same two methods, awaited, over gRPC.

    async with AsyncTritonEngine("triton://localhost:8001") as engine:
        vectors = await asyncio.gather(*(engine.audio(window, None) for window in windows))

Requests that are on their way together are merged into batches by the server. What holds for `TritonEngine` holds here:
the version is named in every request, lost requests are asked again, and a server that has become another is an error.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import numpy as np

from claprt.arrays import Array, AttentionMask, Embeddings, IsLonger, LogMels, TokenIds
from claprt.bundle.address import parse_address
from claprt.engines.triton.engine import IDLE_S, LONGEST_PAUSE_S, OUTPUTS, PAUSE_S
from claprt.engines.triton.errors import LostError, failure
from claprt.engines.triton.metadata import AUDIO, TEXT, TOKENIZER, Served, changed, checked_vectors, is_same, read_served
from claprt.engines.triton.transport import Security, build_of, grpc_options, newest, requested
from claprt.errors import MissingDependencyError, OptionError, ServerError, ServerUnavailableError
from claprt.system.extras import install_hint

_T = TypeVar("_T")


class AsyncTritonEngine:
    """The engine whose towers run on a Triton server, for one event loop, over gRPC."""

    def __init__(
        self, url: str, *, security: Security | None = None, timeout_s: float = 30.0, retry_for_s: float = 15.0
    ) -> None:
        """Prepare a connection, which `connect` or `async with` opens.

        Args:
            url: `triton://host:8001` or `triton+grpcs://host:443`.
            security: Headers and certificates.
            timeout_s: Seconds that the server may take for one request.
            retry_for_s: Seconds for which a request is repeated while the server cannot be reached.

        Raises:
            OptionError: If the URL cannot be parsed, or is not one of gRPC.
            MissingDependencyError: If tritonclient is not installed.
        """
        self.address = parse_address(url)
        if self.address.protocol != "grpc":
            raise OptionError(f"{url} is HTTP; asynchronous requests go over gRPC (triton://host:8001).")
        try:
            import tritonclient.grpc.aio as grpc
        except ImportError as error:
            raise MissingDependencyError(f"tritonclient is not installed: {install_hint('triton')}.") from error
        self._grpc = grpc
        self._security = security or Security()
        self._timeout_s, self._retry_for_s = timeout_s, retry_for_s
        self._client: Any = None
        self._pid = os.getpid()
        self._lost = False
        self._heard = time.monotonic()
        self._served: Served | None = None

    @property
    def served(self) -> Served:
        """The manifest, precision and version that the server states.

        Raises:
            OptionError: If the engine is not connected.
        """
        if self._served is None:
            raise OptionError("The engine is not connected yet: await engine.connect(), or async with engine.")
        return self._served

    async def connect(self) -> AsyncTritonEngine:
        """Read what is served.

        Raises:
            ServerUnavailableError: the server cannot be reached.
            ServerError: it does not serve what `claprt triton` builds.
        """
        self._client = self._grpc.InferenceServerClient(**grpc_options(self.address, self._security))
        self._pid = os.getpid()
        self._served = await self._patiently(self._read)
        return self

    async def audio(self, log_mels: LogMels, is_longer: IsLonger | None = None) -> Embeddings:
        """Unit vectors [batch, dim] of log-mels [batch, views, frames, mels]; errors as `TritonEngine.audio`."""
        inputs: dict[str, Array] = {"log_mels": log_mels}
        if is_longer is not None:
            inputs["is_longer"] = is_longer
        return await self._vectors(AUDIO, inputs)

    async def text(self, token_ids: TokenIds, attention_mask: AttentionMask) -> Embeddings:
        """Unit vectors [batch, dim] of token ids and their mask [batch, tokens]; errors as `TritonEngine.text`."""
        return await self._vectors(TEXT, {"token_ids": token_ids, "attention_mask": attention_mask})

    async def close(self) -> None:
        """End the connection."""
        if self._client is not None:
            await self._client.close()

    async def __aenter__(self) -> AsyncTritonEngine:
        return await self.connect()

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _vectors(self, model: str, inputs: Mapping[str, Array]) -> Embeddings:
        rows, limit = len(next(iter(inputs.values()))), self.served.max_batch[model]
        parts = [{name: array[start : start + limit] for name, array in inputs.items()} for start in range(0, rows, limit)]
        found = await asyncio.gather(*(self._patiently(lambda part=part: self._part(model, part)) for part in parts))
        return found[0] if len(found) == 1 else np.concatenate(found)

    async def _part(self, model: str, inputs: Mapping[str, Array]) -> Embeddings:
        if time.monotonic() - self._heard > IDLE_S and build_of(await self._config(AUDIO)) != self.served.build:
            self._lost = True
        if self._lost:
            served = await self._read()
            if not is_same(self.served, served):
                raise ServerError(changed(str(self.address), self.served, served))
            self._served = served
            self._lost = False
        asked, wanted = requested(self._grpc, inputs, {OUTPUTS[model]: None})
        version = self.served.versions[model]
        result = await self._call("infer", model, asked, model_version=version, outputs=wanted)
        self._heard = time.monotonic()
        rows = len(next(iter(inputs.values())))
        return checked_vectors(result.as_numpy(OUTPUTS[model]), rows, self.served.manifest.embedding_dim, model)

    async def _read(self) -> Served:
        configs = {name: await self._config(name) for name in (AUDIO, TEXT, TOKENIZER)}
        return read_served(configs.__getitem__, str(self.address))

    async def _config(self, model: str) -> dict[str, Any]:
        config = (await self._call("get_model_config", model, as_json=True))["config"]
        metadata = await self._call("get_model_metadata", model, as_json=True)
        return {**config, "version": newest(metadata["versions"])}

    async def _call(self, method: str, *arguments: Any, **options: Any) -> Any:
        if os.getpid() != self._pid:
            raise OptionError("This engine was connected before the process was forked; connect another one in the child.")
        options |= {"headers": self._security.metadata, "client_timeout": self._timeout_s}
        try:
            return await getattr(self._client, method)(*arguments, **options)
        except asyncio.CancelledError:
            raise
        except Exception as error:
            raise failure(error, self._timeout_s, method) from error

    async def _patiently(self, request: Callable[[], Awaitable[_T]]) -> _T:
        until, pause = time.monotonic() + self._retry_for_s, PAUSE_S
        while True:
            try:
                return await request()
            except LostError as error:
                self._lost = True
                if time.monotonic() + pause > until:
                    raise ServerUnavailableError(
                        f"{self.address} could not be reached for {self._retry_for_s:g} s ({error}). Is it running?"
                    ) from error
            await asyncio.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)
