"""Packed towers of random weights, with which the native engine is tested without the exporter."""

from __future__ import annotations

import struct
from collections.abc import Generator, Sequence
from contextlib import contextmanager

import numpy as np

from claprt.arrays import Array
from claprt.engines.native.layout import FORMAT, weight_blocks
from claprt.engines.native.library import native_library

FRAMES, JOINT, TOKENS = 1001, 64, 64
SMALLEST_IN_BYTES = 4096


def packed_tower(  # noqa: PLR0915 - the layout in one piece
    *, dim: int = 16, heads: int = 1, depths: Sequence[int] = (1, 2, 2, 1), fused: bool = False, seed: int = 0
) -> bytes:
    """Content of a packed file whose larger layers are in bytes, and whose activations stay near 1."""
    rng = np.random.default_rng(seed)
    out = bytearray(128)

    def put(values: object, dtype: str) -> None:
        out.extend(np.ascontiguousarray(np.asarray(values), dtype).tobytes())
        out.extend(bytes(-len(out) % 64))

    def norm(channels: int, *, in_bytes: bool) -> None:
        put(rng.normal(1, 0.1, channels) * (40 if in_bytes else 1), "<f4")
        put(rng.normal(0, 0.1, channels) + (120 if in_bytes else 0), "<f4")

    def layer(inputs: int, outputs: int, zero: int, *, in_bytes: bool) -> None:
        put((int(in_bytes), inputs, outputs), "<i4")
        if in_bytes:
            weight = rng.integers(-127, 128, (outputs, inputs), np.int8)
            put(-zero * weight.astype(np.int64).sum(1) + rng.integers(-999, 999, outputs), "<i4")
            put(np.full(outputs, 1 / (40 * 73 * np.sqrt(inputs))), "<f4")
            put(weight_blocks(weight), "i1")
        else:
            put(rng.normal(0, 0.1, outputs), "<f4")
            put(rng.normal(0, 1 / np.sqrt(inputs), (outputs // 4, inputs, 4)), "<f4")

    def stage(channels: int, count: int, side: int, depth: int) -> None:
        square = channels * channels >= SMALLEST_IN_BYTES
        wide = 4 * channels * channels >= SMALLEST_IN_BYTES
        for index in range(depth):
            windows = side * side if index % 2 and side > 1 else 1
            norm(channels, in_bytes=square)
            for _ in range(3):
                layer(channels, channels, 120, in_bytes=square)
            put((windows, windows), "<i4")
            put(rng.permutation(windows), "<i4")
            put(rng.normal(0, 1, (windows, count, TOKENS, TOKENS)), "<f4")
            put((40, 120), "<f4")
            layer(channels, channels, 120, in_bytes=square)
            norm(channels, in_bytes=wide)
            layer(channels, 4 * channels, 120, in_bytes=wide)
            put((60, 10), "<f4")
            layer(4 * channels, channels, 10, in_bytes=wide)

    put(np.full(64, 0.05), "<f4")
    put(np.full(64, 2.0), "<f4")
    put(np.arange(1024) * (FRAMES - 4) // 1023, "<i4")
    put(rng.normal(0.25, 0.1, (1024, 4)), "<f4")
    layer(16, dim, 0, in_bytes=False)
    norm(dim, in_bytes=False)
    if fused:
        for inputs, outputs in ((48, dim), (dim, dim // 4), (dim // 4, dim), (dim, dim // 4), (dim // 4, dim)):
            layer(inputs, outputs, 0, in_bytes=False)
    for index, depth in enumerate(depths):
        channels = dim << index
        stage(channels, heads << index, 8 >> index, depth)
        if index < 3:
            merged = 8 * channels * channels >= SMALLEST_IN_BYTES
            norm(4 * channels, in_bytes=merged)
            layer(4 * channels, 2 * channels, 120, in_bytes=merged)
    norm(8 * dim, in_bytes=False)
    for inputs in (8 * dim, JOINT):
        put(rng.normal(0, 1 / np.sqrt(inputs), (JOINT, inputs)), "<f4")
        put(rng.normal(0, 0.1, JOINT), "<f4")
    out[:128] = struct.pack(
        "<8sIIQ32s5i4i4i5i", b"CLAPRTNT", FORMAT, 128, len(out), bytes(32),
        dim, FRAMES, 4 if fused else 1, JOINT, dim // heads, *depths, *(heads << index for index in range(4)), *[0] * 5,
    )  # fmt: skip
    return bytes(out)


def log_mels(count: int, *, views: int = 1, seed: int = 0) -> Array:
    """Random log-mels [count, views, 1001, 64] in dB."""
    return np.random.default_rng(seed).normal(-40, 15, (count, views, FRAMES, 64)).astype(np.float32)


@contextmanager
def opened(packed: Array, threads: int = 1, instruction_set: str | None = None) -> Generator[int]:
    """The handle of a tower."""
    handle = native_library().open_tower(packed, threads, instruction_set)
    try:
        yield handle
    finally:
        native_library().close(handle)


def vectors(packed: Array, mels: Array, longer: Array | None = None, **options: object) -> Array:
    """Embed log-mels with a tower that is opened for it."""
    with opened(packed, **options) as handle:  # type: ignore[arg-type]
        return native_library().run(handle, mels, longer, JOINT)
