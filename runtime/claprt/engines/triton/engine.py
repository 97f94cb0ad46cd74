"""The engine whose towers run on a Triton server.

It stands behind the same two methods as the engine in process: sounds are decoded, cut and turned into log-mels here, and
the server gets a quarter of a megabyte for a window of ten seconds instead of two. What the vectors are is the server's
own word: the manifest, the precision and the version are read from the served models, every request names that version,
and after the server was lost they are read again, so that a server with another checkpoint is never mistaken for this one.
"""

from __future__ import annotations

import threading
import time
import warnings
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from multiprocessing.util import Finalize
from typing import Any

import numpy as np

from claprt.arrays import Array, AttentionMask, Embeddings, IsLonger, LogMels, TokenIds
from claprt.bundle.address import Address, parse_address
from claprt.bundle.graphs import Precision, Stage
from claprt.engines.engine import validate_feeds
from claprt.engines.triton.errors import ForgottenError, LostError
from claprt.engines.triton.metadata import AUDIO, TEXT, TOKENIZER, Served, changed, checked_vectors, is_same, read_served
from claprt.engines.triton.shared_memory import Placed, Regions
from claprt.engines.triton.transport import Security, Transport, connect
from claprt.errors import ClosedError, OptionError, ServerError, ServerUnavailableError
from claprt.system.forks import forget_in_children, never_end
from claprt.text.tokenizer import validate_texts

OUTPUTS = {AUDIO: "audio_embeddings", TEXT: "text_embeddings"}
PAUSE_S = 0.05
LONGEST_PAUSE_S = 0.5
IDLE_S = 0.5
"""After a silence as long as this the server is asked what it is: connections are made anew without a word, and no server
is replaced by another in less."""


class TritonEngine:
    """The engine whose towers run on a Triton server. Safe to call from many threads."""

    def __init__(
        self,
        url: str,
        *,
        security: Security | None = None,
        timeout_s: float = 30.0,
        retry_for_s: float = 15.0,
        shared_memory: bool | None = None,
        max_concurrency: int = 8,
        at_once: int | None = None,
    ) -> None:
        """Connect, and read the manifest of the served models.

        Args:
            url: `triton://host:8001` (gRPC), `triton+http://host:8000`, `triton+grpcs://…` or `triton+https://…`.
            security: Headers and certificates.
            timeout_s: Seconds that the server may take for one request.
            retry_for_s: Seconds for which a request is repeated while the server cannot be reached, starts, or is too busy.
                A request that timed out or was refused is not repeated.
            shared_memory: Whether tensors go through the machine's shared memory; by default if the server is on this
                machine and accepts it.
            max_concurrency: Concurrent requests.
            at_once: Deprecated name of `max_concurrency`.

        Raises:
            MissingDependencyError: If tritonclient is not installed.
            OptionError: If the URL cannot be parsed, or a number is out of range.
            ServerUnavailableError: If the server cannot be reached.
            ServerError: If it does not serve what `claprt triton` builds.
        """
        if at_once is not None:
            warnings.warn("The option at_once is now max_concurrency.", DeprecationWarning, stacklevel=2)
            max_concurrency = at_once
        self.address: Address = parse_address(url)
        if timeout_s <= 0 or retry_for_s < 0 or max_concurrency < 1:
            raise OptionError("timeout_s must be more than 0, retry_for_s at least 0, and max_concurrency at least 1.")
        if shared_memory and not self.address.local:
            raise OptionError(f"{self.address} is another machine, with which no memory can be shared.")
        self.security = security or Security()
        self._timeout_s, self._retry_for_s, self._max_concurrency = timeout_s, retry_for_s, max_concurrency
        self._asked_to_share = shared_memory
        self._closed = False
        self._begin()
        forget_in_children(self)
        self.served: Served = self._patiently(self._read)
        """The manifest, precision and version that the server states."""

    def _begin(self) -> None:
        self._transport: Transport = connect(self.address, self.security, self._timeout_s)
        self._regions = Regions(self._transport.register, self._transport.unregister)
        self._at_the_end: Finalize | None = None
        self._share = self.address.local if self._asked_to_share is None else self._asked_to_share
        self._free = threading.BoundedSemaphore(self._max_concurrency)
        self._doubts = ThreadPoolExecutor(1, thread_name_prefix="claprt-triton")
        self._lock = threading.Lock()
        self._life = 0
        self._lost = False
        self._heard = time.monotonic()

    @property
    def provider(self) -> str:
        """`triton`."""
        return "triton"

    @property
    def precision(self) -> str:
        """Precision of the served towers."""
        return self.served.precision

    @property
    def max_concurrency(self) -> int:
        """Concurrent requests."""
        return self._max_concurrency

    @property
    def threads(self) -> int:
        """1: the server has threads of its own."""
        return 1

    @property
    def sharing(self) -> bool:
        """Whether tensors go through shared memory."""
        return self._share

    def batch_engine(self) -> TritonEngine:
        """This engine: the server makes the batches."""
        return self

    def audio(self, log_mels: LogMels, is_longer: IsLonger | None) -> Embeddings:
        """Unit vectors [batch, dim] of log-mels [batch, views, frames, mels].

        Raises:
            ArrayError: an input has another shape or dtype than the manifest states.
            ServerUnavailableError: the server was lost and did not come back in time, or took too long.
            ServerError: the server refused, or now serves something else.
        """
        return self._vectors(AUDIO, self._checked(Stage.AUDIO, {"log_mels": log_mels, "is_longer": is_longer}))

    def text(self, token_ids: TokenIds, attention_mask: AttentionMask) -> Embeddings:
        """Unit vectors [batch, dim] of token ids and their mask [batch, tokens].

        Raises:
            ArrayError: an input has another shape or dtype than the manifest states.
            ServerUnavailableError: the server was lost and did not come back in time, or took too long.
            ServerError: the server refused, or now serves something else.
        """
        return self._vectors(TEXT, self._checked(Stage.TEXT, {"token_ids": token_ids, "attention_mask": attention_mask}))

    def _checked(self, stage: Stage, given: dict[str, Array | None]) -> dict[str, Array]:
        """Inputs as the graph takes them, refused here rather than there."""
        precision = self.served.audio_precision if stage is Stage.AUDIO else self.served.text_precision
        return validate_feeds(self.served.manifest.graph(stage, Precision(precision)), given)

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of each text, by the server's tokenizer.

        Raises:
            TextError: a text is empty, is not a string, or cannot be encoded.
            ServerError: as above.
        """
        outputs: dict[str, Placed | None] = {"token_ids": None, "attention_mask": None}

        def asked(part: Array) -> dict[str, Array]:
            return self._infer(TOKENIZER, {"text": part}, outputs)

        validate_texts(texts)
        found: list[list[int]] = []
        for start in range(0, len(texts), self.served.max_texts):
            part = np.array([text.encode() for text in texts[start : start + self.served.max_texts]], np.object_)
            reply = self._ask(lambda part=part: asked(part))
            rows = zip(reply["token_ids"], reply["attention_mask"], strict=True)
            found += [ids[: int(mask.sum())].tolist() for ids, mask in rows]
        return found

    def forget_after_fork(self) -> None:
        """Begin anew in the child of a fork: connections and shared memory are its parent's, and are not ended here."""
        self._transport.forget_after_fork()
        never_end(self._transport, self._regions, self._doubts)
        self._begin()

    def close(self) -> None:
        """Give shared memory back and end the connections; requests after that raise `ClosedError`."""
        self._closed = True
        self._regions.end()
        self._doubts.shutdown()
        self._transport.close()

    def __enter__(self) -> TritonEngine:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _vectors(self, model: str, inputs: dict[str, Array]) -> Embeddings:
        limit = self.served.max_batch[model]
        rows = len(next(iter(inputs.values())))
        parts = [
            self._ask(lambda start=start: self._part(model, {n: a[start : start + limit] for n, a in inputs.items()}))
            for start in range(0, rows, limit)
        ]
        return parts[0] if len(parts) == 1 else np.concatenate(parts)

    def _part(self, model: str, inputs: dict[str, Array]) -> Embeddings:
        rows = len(next(iter(inputs.values())))
        found = self._shared(model, inputs, rows) if self._share else self._infer(model, inputs, {OUTPUTS[model]: None})
        vectors = found[OUTPUTS[model]]
        return checked_vectors(vectors, rows, self.served.manifest.embedding_dim, model)

    def _infer(
        self, model: str, inputs: Mapping[str, Array | Placed], outputs: Mapping[str, Placed | None]
    ) -> dict[str, Array]:
        return self._transport.infer(model, self.served.versions[model], inputs, outputs)

    def _shared(self, model: str, inputs: dict[str, Array], rows: int) -> dict[str, Array]:
        """A request whose tensors lie in shared memory.

        Raises:
            ServerError: If the server refuses the request, or is gone.
            OSError: If shared memory was requested and cannot be had.
        """
        if self._at_the_end is None:  # it would outlive the program, and ends with this very process, not with children
            self._at_the_end = Finalize(self, self._regions.end, exitpriority=10)
        shape = (rows, self.served.manifest.embedding_dim)
        size = 4 * shape[0] * shape[1]
        try:
            region = self._regions.take(sum(array.nbytes for array in inputs.values()) + size, self._life)
        except (ServerError, OSError) as error:
            if self._asked_to_share or isinstance(error, ServerUnavailableError):
                raise
            self._share = False  # a container on this machine, or a server that does not allow it
            return self._infer(model, inputs, {OUTPUTS[model]: None})
        try:
            placed: dict[str, Placed] = {}
            for name, array in inputs.items():
                placed[name] = region.put(array, sum(place.size for place in placed.values()))
            end = sum(place.size for place in placed.values())
            output = Placed(region=region.name, offset=end, size=size, shape=shape, dtype="float32")
            region.view(output)[...] = np.nan
            self._infer(model, placed, {OUTPUTS[model]: output})
            vectors = region.view(output).copy()
        except BaseException:
            self._regions.give_up(region)
            raise
        self._regions.give_back(region)
        return {OUTPUTS[model]: vectors}

    def _ask(self, request: Callable[[], Any]) -> Any:
        """A request, asked again while the server is lost; never of a server that has become another.

        Raises:
            ClosedError: If the engine was closed.
        """

        def checked() -> Any:
            doubt = None
            if time.monotonic() - self._heard > IDLE_S:  # asked beside the request, which then waits for nothing
                doubt = self._doubts.submit(self._transport.build, AUDIO)
            if self._lost:
                self._find_again()
            try:
                found = request()
            except ServerError:
                self._settle(doubt)
                raise
            if self._settle(doubt):
                found = request()
            self._heard = time.monotonic()
            return found

        if self._closed:
            raise ClosedError(f"The connection to {self.address} was closed. Connect again.")
        with self._free:
            return self._patiently(checked)

    def _settle(self, doubt: Future[str] | None) -> bool:
        """Whether the server was replaced by one that serves the same; an error where it serves something else."""
        if doubt is None or doubt.result() == self.served.build:
            return False
        self._lost = True
        self._find_again()
        return True

    def _patiently(self, request: Callable[[], Any]) -> Any:
        until, pause = time.monotonic() + self._retry_for_s, PAUSE_S
        while True:
            try:
                return request()
            except LostError as error:
                self._lost = True
                if isinstance(error, ForgottenError):
                    self._life += 1
                if time.monotonic() + pause > until:
                    raise ServerUnavailableError(
                        f"{self.address} could not be reached for {self._retry_for_s:g} s ({error}). Is it running?"
                    ) from error
            time.sleep(pause)
            pause = min(2 * pause, LONGEST_PAUSE_S)

    def _read(self) -> Served:
        return read_served(self._transport.config, str(self.address))

    def _find_again(self) -> None:
        """After the server was lost: whether it still serves the same.

        Raises:
            ServerError: If the server now serves another model.
        """
        with self._lock:
            if not self._lost:
                return
            served = self._read()
            if not is_same(self.served, served):
                raise ServerError(changed(str(self.address), self.served, served))
            self.served = served
            self._life += 1
            self._lost = False

    def __repr__(self) -> str:
        return f"<TritonEngine {self.served.manifest.name} {self.precision} on {self.address}>"
