"""How a model uses a `VectorCache`: the keys of sounds and texts, and embedding what is not there yet, in order."""

from __future__ import annotations

import hashlib
import itertools
import math
import os
import struct
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np

from claprt.arrays import Embedding
from claprt.audio.sound import AudioSource, is_decoded_anew, resolve_source, source_name
from claprt.errors import AudioError
from claprt.model.results import EmbeddedSound
from claprt.model.vector_cache import VectorCache

Embed = Callable[[Iterable[AudioSource]], Iterator[EmbeddedSound]]
_CHUNK = 256
"""Sources that are looked at together: what bounds how many results wait for one that is still being computed."""
_PIECES = 4
_PIECE_BYTES = 1_000_000
"""From four of these on a buffer is hashed in pieces side by side; for less, threads cost more than they save."""
_STAMPS_KEPT = 65_536


class EmbeddingCache:
    """The sounds and texts of one fingerprint in a cache."""

    def __init__(self, cache: VectorCache, fingerprint: str, dim: int | None = None) -> None:
        """Take the cache, the fingerprint of a model, and the length of its vectors, which those found must have."""
        self.cache, self.fingerprint, self._dim = cache, fingerprint, dim
        self._digests: OrderedDict[tuple[object, ...], bytes] = OrderedDict()

    def key(self, source: AudioSource, sample_rate: int | None, default_rate: int) -> bytes | None:
        """The key of a sound by its content; None for what cannot be read twice, or not at all: it is not looked for.

        A file that has kept its size, times and inode since it was hashed is not read again. What an array's samples are
        taken as depends on its dtype: `claprt.audio.levels` gives other samples of 32 and 64 bits than release 0.1.0 did.
        """
        if type(source) is not np.ndarray:
            if is_decoded_anew(source):
                return None
            try:
                plain = resolve_source(source, sample_rate)
            except AudioError:
                return None  # whoever opens it says what is wrong
            source, sample_rate = plain.source, plain.rate
        if isinstance(source, str | os.PathLike):
            digest = self._file_digest(os.fspath(source))
            return None if digest is None else self._key("file", digest)
        if isinstance(source, bytes | bytearray | memoryview):
            return self._key("bytes", content_digest(memoryview(source).cast("B")))
        if not isinstance(source, np.ndarray) or source.dtype.kind not in "fiu":
            return None
        rate = default_rate if sample_rate is None else sample_rate
        samples = np.ascontiguousarray(source)
        dtype = samples.dtype.str if samples.dtype.kind == "f" or samples.dtype.itemsize < 4 else f"{samples.dtype.str} 2"
        what = f"array {dtype} {source.shape} {rate!r}"
        return self._key(what, content_digest(samples.reshape(-1).view(np.uint8).data))

    def text_key(self, text: str) -> bytes:
        """The key of a text."""
        return self._key("text", hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest())

    def find(self, key: bytes, source: AudioSource) -> EmbeddedSound | None:
        """The result of a sound that was embedded before; None for any other."""
        value = self.cache.get(key)
        if value is None:
            return None
        found = _unpacked(value, source_name(source), self.fingerprint, self._dim)
        if found is None:
            self.cache.drop(key)
        return found

    def store(self, key: bytes, sound: EmbeddedSound) -> None:
        """Store a result, unless it is an error."""
        if sound.vector is not None:
            self.cache.put(key, _packed(sound))

    def find_text(self, key: bytes) -> Embedding | None:
        """Vector [dim] float32 of a text that was embedded before; None for any other."""
        value = self.cache.get(key)
        if value is None:
            return None
        vector = (
            np.frombuffer(value, "<f4").astype(np.float32, copy=False) if len(value) % 4 == 0 else np.empty(0, np.float32)
        )
        if len(vector) != (self._dim or len(vector)) or not len(vector) or not _is_finite(vector):
            self.cache.drop(key)
            return None
        return vector

    def store_text(self, key: bytes, vector: Embedding) -> None:
        """Store the vector [dim] float32 of a text."""
        self.cache.put(key, vector.astype("<f4").tobytes())

    def embed_all(
        self, sources: Iterable[AudioSource], sample_rate: int | None, default_rate: int, embed: Embed
    ) -> Iterator[EmbeddedSound]:
        """Yield the results of all sources in order.

        Args:
            sources: What is to be embedded.
            sample_rate: Rate of arrays in Hz, or None.
            default_rate: The model's rate, for arrays without one.
            embed: Computes the results that are not in the cache.
        """
        remaining = iter(sources)
        while first := list(itertools.islice(remaining, 1)):
            chunk = itertools.chain(first, itertools.islice(remaining, _CHUNK - 1))
            yield from self._embed_chunk(chunk, sample_rate, default_rate, embed)

    def _embed_chunk(
        self, sources: Iterator[AudioSource], sample_rate: int | None, default_rate: int, embed: Embed
    ) -> Iterator[EmbeddedSound]:
        order: deque[EmbeddedSound | bytes | None] = deque()  # what was found; or, of what was not, its key

        def missing() -> Iterator[AudioSource]:
            for source in sources:
                key = self.key(source, sample_rate, default_rate)
                found = None if key is None else self.find(key, source)
                order.append(key if found is None else found)
                if found is None:
                    yield source

        for computed in embed(missing()):
            while isinstance(order[0], EmbeddedSound):
                yield order.popleft()  # pyright: ignore[reportReturnType]
            key = order.popleft()
            if isinstance(key, bytes):
                self.store(key, computed)
            yield computed
        for found in order:
            assert isinstance(found, EmbeddedSound)
            yield found

    def _key(self, kind: str, digest: bytes) -> bytes:
        return hashlib.sha256(f"{kind}\0{self.fingerprint}\0".encode() + digest).digest()

    def _file_digest(self, path: str | bytes) -> bytes | None:
        try:
            stat = os.stat(path)  # noqa: PTH116 - a path may be bytes
            stamp = (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
            digest = self._digests.get(stamp)
            if digest is None:
                with open(path, "rb") as file:  # noqa: PTH123 - as above
                    digest = hashlib.file_digest(file, "sha256").digest()
        except (OSError, ValueError):
            return None  # whoever opens it says what is wrong
        self._digests[stamp] = digest
        if len(self._digests) > _STAMPS_KEPT:
            self._digests.popitem(last=False)
        return digest


def content_digest(content: memoryview) -> bytes:
    """A SHA-256 of some bytes, or where they are many one of the SHA-256 of their quarters.

    Example:
        >>> content_digest(memoryview(b"abc")).hex()[:8]
        'ba7816bf'
    """
    if len(content) < _PIECES * _PIECE_BYTES:
        return hashlib.sha256(content).digest()
    size = -(-len(content) // _PIECES)
    pieces = [content[start : start + size] for start in range(0, len(content), size)]
    with ThreadPoolExecutor(min(len(pieces), os.cpu_count() or 1)) as pool:
        return hashlib.sha256(b"".join(pool.map(lambda piece: hashlib.sha256(piece).digest(), pieces))).digest()


_HEAD = struct.Struct("<II")


def _packed(sound: EmbeddedSound) -> bytes:
    windows, dim = sound.windows.shape
    assert sound.vector is not None
    parts = (np.array(sound.starts_s, "<f8"), sound.windows.astype("<f4"), sound.vector.astype("<f4"))
    return _HEAD.pack(windows, dim) + b"".join(part.tobytes() for part in parts)


def _unpacked(value: bytes, name: str, fingerprint: str, expected_dim: int | None) -> EmbeddedSound | None:
    """The result that was packed; None where the value is none, of another length, or not finite."""
    if len(value) < _HEAD.size:
        return None
    windows, dim = _HEAD.unpack_from(value)
    if dim != (expected_dim or dim) or not windows or len(value) != _HEAD.size + 8 * windows + 4 * dim * (windows + 1):
        return None
    starts = np.frombuffer(value, "<f8", windows, _HEAD.size)
    rows: Any = np.frombuffer(value, "<f4", dim * (windows + 1), _HEAD.size + 8 * windows).reshape(windows + 1, dim)
    rows = rows.astype(np.float32)  # a copy that may be written to
    if not _is_finite(rows) or not _is_finite(starts):
        return None
    return EmbeddedSound(
        source=name,
        vector=rows[windows],
        windows=rows[:windows],
        starts_s=tuple(starts.tolist()),
        fingerprint=fingerprint,
    )


def _is_finite(numbers: np.ndarray[Any, Any]) -> bool:
    """Whether all numbers are finite, and none so large that its square is not."""
    return math.isfinite(np.vdot(numbers, numbers))
