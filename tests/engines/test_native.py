"""The library of claprt-native, on towers of random weights: the same bits on every processor, and nothing believed."""

from __future__ import annotations

import math
import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from claprt.arrays import Array
from claprt.engines.native.layout import weight_blocks
from claprt.engines.native.library import NativeLibrary, aligned, native_library
from claprt.system.native import SCALAR
from tests.engines.packed_tower import FRAMES, JOINT, log_mels, opened, packed_tower, vectors

claprt_native = pytest.importorskip("claprt_native", reason="needs claprt-native: the native extra")

SETS = native_library().sets
VNNI, BF16, AMX = "avx512_vnni", "avx512_bf16", "amx"
needs_amx = pytest.mark.skipif(AMX not in SETS, reason="needs a processor with AMX, and a system that lets it be used")
needs_vnni = pytest.mark.skipif(VNNI not in SETS, reason="needs a processor with AVX-512 VNNI")


@pytest.fixture(scope="module")
def library() -> NativeLibrary:
    return native_library()


@pytest.fixture(scope="module")
def packed() -> Array:
    return aligned(packed_tower())


@pytest.fixture(scope="module")
def fused() -> Array:
    return aligned(packed_tower(fused=True, depths=(1, 1, 1, 1)))


@pytest.mark.parametrize("instruction_set", SETS)
@pytest.mark.parametrize(("inputs", "outputs"), [(4, 16), (24, 48), (64, 32), (96, 96), (1540, 16)])
def test_sums_are_numpys(library: NativeLibrary, instruction_set: str, inputs: int, outputs: int) -> None:
    rng = np.random.default_rng(inputs)
    weight = rng.integers(-128, 128, (outputs, inputs), np.int8)
    tokens = rng.integers(0, 256, (inputs, 64), np.uint8)
    weight[0], tokens[:, 0] = -128, 255  # the largest products, which would saturate 16 bits
    start = rng.integers(-(2**20), 2**20, outputs, np.int32)
    packed_tokens = np.ascontiguousarray(tokens.reshape(inputs // 4, 4, 64).transpose(0, 2, 1))
    found = library.sum_products(instruction_set, np.ascontiguousarray(weight_blocks(weight)), start, packed_tokens)
    expected = weight.astype(np.int64) @ tokens.astype(np.int64) + start[:, None]
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("instruction_set", SETS)
def test_gelu(library: NativeLibrary, instruction_set: str) -> None:
    x = np.linspace(-9, 9, 16 * 4096, dtype=np.float32)
    exact = np.array([0.5 * value * (1 + math.erf(value / math.sqrt(2))) for value in x.astype(np.float64)])
    assert np.abs(library.gelu(instruction_set, x) - exact).max() < 5.4e-4


@needs_vnni
@pytest.mark.parametrize("width", [16, 24, 32, 64])
def test_the_vector_units_give_the_bits_of_plain_cpp(width: int) -> None:
    """But for those that compute attention in bfloat16: AVX-512 BF16 and AMX."""
    heads = 2 if width <= 24 else 1
    tower = aligned(packed_tower(dim=width * heads, heads=heads, depths=(1, 2, 1, 1), seed=width))
    mels = log_mels(1)
    plain = vectors(tower, mels, instruction_set=SCALAR)
    assert np.array_equal(vectors(tower, mels, instruction_set=VNNI), plain)
    assert np.isfinite(plain).all()
    fastest = vectors(tower, mels)
    assert (fastest * plain).sum() > 0.99  # attention of random weights is sharper than that of trained ones
    assert abs(np.linalg.norm(fastest) - 1) < 1e-6


@needs_amx
@pytest.mark.parametrize("width", [16, 24, 32, 64])
@pytest.mark.parametrize("fused", [False, True])
def test_tiles_differ_by_the_rounding_of_attention_alone(width: int, fused: bool) -> None:
    """Products of bytes have the same bits (above); those of bfloat16 are summed in another order."""
    heads = 2 if width <= 24 else 1
    tower = aligned(packed_tower(dim=width * heads, heads=heads, depths=(1, 2, 2, 1), seed=width, fused=fused))
    mels, longer = log_mels(2, views=4 if fused else 1), np.array([[True], [False]]) if fused else None
    tiles = vectors(tower, mels, longer, instruction_set=AMX)
    assert (tiles * vectors(tower, mels, longer, instruction_set=BF16)).sum(1).min() > 0.999
    for threads in (2, 3, 16):  # which divide the windows otherwise
        assert np.array_equal(vectors(tower, mels, longer, threads=threads, instruction_set=AMX), tiles)


REFUSED = """
import ctypes, struct, sys
import numpy as np
program = b"".join(struct.pack("HBBI", *line) for line in (
    (0x20, 0, 0, 0),           # the call's number
    (0x15, 0, 3, 158),         # arch_prctl
    (0x20, 0, 0, 16),          # its first argument
    (0x15, 0, 1, 0x1023),      # asking for more registers' state
    (0x06, 0, 0, 0x00050001),  # is not permitted
    (0x06, 0, 0, 0x7fff0000),  # all else is
))
content = ctypes.create_string_buffer(program, len(program))
filter_ = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(program) // 8, ctypes.addressof(content)))
prctl = ctypes.CDLL(None, use_errno=True).prctl
prctl.argtypes = [ctypes.c_int, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong]
assert prctl(38, 1, None, 0, 0) == 0 and prctl(22, 2, ctypes.addressof(filter_), 0, 0) == 0, ctypes.get_errno()
from claprt.engines.native.library import aligned, native_library
from tests.engines.packed_tower import JOINT, log_mels, packed_tower
library, tower = native_library(), aligned(packed_tower(depths=(1, 1, 1, 1)))
np.save(sys.argv[1], library.run(library.open_tower(tower, 2), log_mels(1), None, JOINT))
print(*library.sets)
"""


@needs_amx
def test_a_system_that_refuses_tiles(tmp_path: Path) -> None:
    """The next instruction set is used, as on a processor without them."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, ["", *sys.path]))}
    command = [sys.executable, "-c", REFUSED, tmp_path / "found.npy"]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr
    assert run.stdout.split() == [name for name in SETS if name != AMX]
    here = vectors(aligned(packed_tower(depths=(1, 1, 1, 1))), log_mels(1), instruction_set=BF16)
    assert np.array_equal(np.load(tmp_path / "found.npy"), here)


@needs_vnni
def test_fused_towers_too(fused: Array) -> None:
    mels, longer = log_mels(2, views=4), np.array([[True], [False]])
    plain = vectors(fused, mels, longer, instruction_set=SCALAR)
    assert np.array_equal(vectors(fused, mels, longer, instruction_set=VNNI), plain)
    without = mels.copy()
    without[:, 1:] = 0
    again = vectors(fused, without, longer, instruction_set=VNNI)
    assert np.array_equal(again[1], plain[1])  # a sound that is not longer than its first view
    assert not np.array_equal(again[0], plain[0])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e30])
def test_log_mels_that_are_no_numbers(packed: Array, value: float) -> None:
    mels = log_mels(2)
    mels[1, 0, 500, 32] = value
    with opened(packed, 2) as handle:
        with pytest.raises(ValueError, match="NaN, infinite or beyond"):
            native_library().run(handle, mels, None, JOINT)
        assert np.isfinite(native_library().run(handle, log_mels(1), None, JOINT)).all()


def test_an_empty_batch(packed: Array) -> None:
    assert vectors(packed, log_mels(1)[:0]).shape == (0, JOINT)


@pytest.mark.parametrize("threads", [0, -1, 4097, 10_000])
def test_thread_counts(library: NativeLibrary, packed: Array, threads: int) -> None:
    with pytest.raises(ValueError, match="threads from 1 to 4096"):
        library.open_tower(packed, threads)


def test_an_instruction_set_that_is_not_there(library: NativeLibrary, packed: Array) -> None:
    with pytest.raises(ValueError, match="does not have the instruction set"):
        library.open_tower(packed, 1, "neon")


def test_shape(library: NativeLibrary, packed: Array, fused: Array) -> None:
    for tower, views in ((packed, 1), (fused, 4)):
        with opened(tower) as handle:
            assert library.shape(handle) == (views, FRAMES, JOINT)


def _with(content: bytes, place: int, kind: str, value: int) -> bytes:
    changed = bytearray(content)
    struct.pack_into(kind, changed, place, value)
    return bytes(changed)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda content: b"", "shorter than its header"),
        (lambda content: content[:127], "shorter than its header"),
        (lambda content: b"ONNX" + content[4:], "is not a packed tower"),
        (lambda content: _with(content, 8, "<I", 1), "has format 1"),
        (lambda content: content[:-64], "states"),
        (lambda content: content + bytes(64), "states"),
        (lambda content: _with(content[:-64], 16, "<Q", len(content) - 64), "ends within its weights"),
        (lambda content: _with(content + bytes(64), 16, "<Q", len(content) + 64), "longer than its weights"),
        (lambda content: _with(content, 56, "<i", 2**30), "sizes are not those"),
        (lambda content: _with(content, 56, "<i", -16), "sizes are not those"),
        (lambda content: _with(content, 60, "<i", 3), "sizes are not those"),
        (lambda content: _with(content, 60, "<i", 4), "frames that are not there"),
        (lambda content: _with(content, 64, "<i", 2), "sizes are not those"),
        (lambda content: _with(content, 72, "<i", 17), "sizes are not those"),
        (lambda content: _with(content, 76, "<i", 0), "sizes are not those"),
        (lambda content: _with(content, 76, "<i", 2), "other sizes|ends within"),
        (lambda content: _with(content, 640, "<i", -1), "frames that are not there"),
        (lambda content: _with(content, 640, "<i", 998), "frames that are not there"),
    ],
)
def test_files_that_are_not_believed(library: NativeLibrary, change: object, words: str) -> None:
    content = packed_tower(depths=(1, 1, 1, 1))
    with pytest.raises(ValueError, match=words):
        library.open_tower(aligned(change(content)), 1)  # type: ignore[operator]


def test_content_at_any_address_is_refused(library: NativeLibrary) -> None:
    content = aligned(packed_tower(depths=(1, 1, 1, 1)) + bytes(64))
    with pytest.raises(ValueError, match="not aligned"):
        library.open_tower(content[4:], 1)


FUZZ = """
import sys
import numpy as np
from claprt.engines.native.library import aligned, native_library
from tests.engines.packed_tower import JOINT, log_mels, packed_tower
library, content = native_library(), packed_tower(depths=(1, 2, 1, 1), fused=True)
rng, mels, longer, ran = np.random.default_rng(int(sys.argv[1])), log_mels(1, views=4), np.ones((1, 1), bool), 0
for turn in range(int(sys.argv[2])):
    changed = bytearray(content)
    for _ in range(rng.integers(1, 9)):  # most of what is not a weight lies at the beginning
        changed[rng.integers(0, len(content) if turn % 2 else 9000)] = rng.integers(256)
    tower = aligned(bytes(changed))  # which must be there for as long as the handle
    try:
        handle = library.open_tower(tower, 1)
    except ValueError:
        continue
    library.run(handle, mels, longer, JOINT)
    library.close(handle)
    ran += 1
print(ran)
"""


def test_altered_files_end_in_an_error_or_in_numbers() -> None:
    """Whatever the weights, nothing is read or written that is not the tower's: here a crash would end the process."""
    run = subprocess.run([sys.executable, "-c", FUZZ, "1", "150"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert int(run.stdout) > 20


PLAINEST = """
import ctypes, mmap, sys
library, packed, mels, found, dim = sys.argv[1:]
functions = ctypes.CDLL(library)
functions.claprt_native_sets.restype = ctypes.c_char_p
functions.claprt_tower_open.restype = ctypes.c_void_p
with open(packed, "rb") as file, open(mels, "rb") as signal, open(found, "wb") as out:
    content = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_WRITE, flags=mmap.MAP_PRIVATE)
    signals, vector = ctypes.create_string_buffer(signal.read()), (ctypes.c_float * int(dim))()
    size, place = ctypes.c_uint64(len(content)), ctypes.c_void_p(ctypes.addressof(ctypes.c_char.from_buffer(content)))
    handle = ctypes.c_void_p(functions.claprt_tower_open(place, size, 2, None, None, 0))
    code = functions.claprt_tower_run(handle, signals, None, ctypes.c_int64(1), vector)
    out.write(bytes(vector))
print(code, functions.claprt_native_sets().decode())
"""
UNAVAILABLE = "from claprt.engines.native.library import native_unavailable; print(native_unavailable())"
needs_emulator = pytest.mark.skipif(shutil.which("qemu-x86_64") is None, reason="needs qemu-user")


def emulated(*arguments: str | Path) -> str:
    """What Python prints on the plainest processor of its kind."""
    path = os.pathsep.join(filter(None, ["", *sys.path]))
    environment = {**os.environ, "PYTHONPATH": path, "OPENBLAS_CORETYPE": "Nehalem"}
    command = ["qemu-x86_64", "-cpu", "Nehalem", os.path.realpath(sys.executable), *arguments]
    run = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert run.returncode == 0, run.stderr
    return run.stdout


@needs_emulator
def test_a_processor_without_the_instructions(tmp_path: Path) -> None:
    """Emulated: nothing is executed that it does not have, and plain C++ gives the same bits there as here."""
    packed, mels, found = (tmp_path / name for name in ("packed", "mels", "found"))
    content, signal = packed_tower(depths=(1, 1, 1, 1)), log_mels(1)
    packed.write_bytes(content)
    mels.write_bytes(signal.tobytes())
    said = emulated("-S", "-E", "-c", PLAINEST, str(claprt_native.LIBRARY), packed, mels, found, str(JOINT))
    assert said == f"0 {SCALAR}\n"
    here = vectors(aligned(content), signal, instruction_set=SCALAR)
    assert np.array_equal(np.fromfile(found, np.float32)[None], here)


@needs_emulator
@pytest.mark.slow
def test_a_processor_without_the_instructions_is_said_to_be(tmp_path: Path) -> None:
    """By claprt itself, whose imports take seconds there; the library alone is in the test above."""
    assert emulated("-c", UNAVAILABLE).startswith("this processor")
