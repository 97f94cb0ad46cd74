"""Damaged sound files, tens of thousands of them: each decoded or refused in a sentence, in bounded time and memory.

    python benchmarks/fuzz_files.py [--count N] [--seed S] [--processes P]

Files of every format that libsndfile writes, and of the containers that PyAV writes where it is installed, are changed
at random: bits, bytes, lengths in headers, pieces cut out, doubled, swapped or taken from another file, ends cut off.
Checksums of Ogg pages and of FLAC frames are repaired in half of them, so that decoders look further than those. Each
is read as bytes, and every eighth as a path and with its log-mels too. Exit status 1 if a process crashed or hung, if
anything else than an `AudioError` or a warning of ours was raised, if path and bytes differ, if a sample was not
finite, if a file took longer than 5 s of processor time, or if memory grew by more than 300 MB above what it was for
the first files.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import itertools
import json
import multiprocessing
import resource
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import soundfile  # noqa: E402

import claprt  # noqa: E402
from claprt.audio.features import audio_features  # noqa: E402
from claprt.audio.long_audio import long_audio_policy  # noqa: E402
from claprt.audio.preprocess import recipe  # noqa: E402
from claprt.audio.sound import open_sound  # noqa: E402
from claprt.errors import AudioError, UnfinishedHeaderWarning  # noqa: E402

SECONDS = 5.0
GROWTH_MB = 300
CHUNK = 250
PATIENCE_S = 300.0
"""For a chunk of files; a process that takes longer hangs."""
_AV = (
    ("ipod", "aac"), ("ipod", "alac"), ("mp4", "aac"), ("mov", "pcm_s16le"), ("matroska", "flac"), ("webm", "libopus"),
    ("asf", "wmav2"), ("wv", "wavpack"), ("ac3", "ac3"), ("adts", "aac"), ("tta", "tta"), ("ogg", "flac"),
)  # fmt: skip
Random = np.random.Generator


@cache
def originals() -> tuple[tuple[str, bytes], ...]:
    """Undamaged files by name: short sounds of one and two channels."""
    random = np.random.default_rng(0)
    found: list[tuple[str, bytes]] = []
    for channels in (1, 2):
        sound = 0.3 * np.sin(np.arange(6000) / 20)[:, None] + random.normal(0, 0.05, (6000, channels))
        for name in soundfile.available_formats():
            if name == "SD2":  # its second file, `._`, stays in the working folder, and no MP3 is read beside it
                continue
            for subtype in soundfile.available_subtypes(name):
                out = io.BytesIO()
                try:
                    soundfile.write(out, sound, 8000 if "GSM" in subtype else 16_000, subtype=subtype, format=name)
                except (soundfile.SoundFileError, ValueError, TypeError):
                    continue
                found.append((f"{name} {subtype}", out.getvalue()))
        found.extend(_of_av(sound))
    return tuple(found)


def _of_av(sound: np.ndarray[Any, Any]) -> list[tuple[str, bytes]]:
    try:
        import av
    except ImportError:
        return []
    found: list[tuple[str, bytes]] = []
    layout = "mono" if sound.shape[1] == 1 else "stereo"
    for container, codec in _AV:
        out = io.BytesIO()
        try:
            with av.open(out, "w", format=container) as file:
                stream: Any = file.add_stream(codec, rate=48_000, layout=layout)
                frame = av.AudioFrame.from_ndarray((sound.T.reshape(1, -1) * 32767).astype(np.int16), "s16", layout)
                frame.sample_rate = 48_000
                resampler = av.AudioResampler(stream.format, layout, 48_000, stream.codec_context.frame_size or None)
                for part in (frame, None):
                    for ready in resampler.resample(part):
                        file.mux(stream.encode(ready))
                file.mux(stream.encode(None))
        except (OSError, ValueError):
            continue
        found.append((f"{container} {codec}", out.getvalue()))
    return found


def _flip(random: Random, data: bytearray) -> None:
    for _ in range(int(random.integers(1, 9))):
        data[_place(random, data)] ^= 1 << int(random.integers(8))


def _extreme(random: Random, data: bytearray) -> None:
    width = int(random.choice([1, 2, 4, 8]))
    value = int(random.choice([0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF, len(data), len(data) // 2]))
    start, order = _place(random, data), "little" if random.random() < 0.5 else "big"
    data[start : start + width] = (value & ((1 << 8 * width) - 1)).to_bytes(width, order)  # pyright: ignore[reportArgumentType]


def _cut(random: Random, data: bytearray) -> None:
    start = _place(random, data)
    del data[start : start + int(random.integers(1, 1 + len(data) // 4))]


def _end(random: Random, data: bytearray) -> None:
    del data[_place(random, data) :]


def _double(random: Random, data: bytearray) -> None:
    start = _place(random, data)
    piece = data[start : start + int(random.integers(1, 2000))]
    data[start:start] = piece * int(random.integers(1, 4))


def _insert(random: Random, data: bytearray) -> None:
    start = _place(random, data)
    data[start:start] = random.bytes(int(random.integers(1, 300))) if random.random() < 0.5 else bytes(200)


def _transplant(random: Random, data: bytearray) -> None:
    _, other = originals()[int(random.integers(len(originals())))]
    start, origin = _place(random, data), int(random.integers(len(other)))
    data[start : start + 500] = other[origin : origin + 500]


_CHANGES: tuple[Callable[[Random, bytearray], None], ...] = (_flip, _extreme, _cut, _end, _double, _insert, _transplant)


def _place(random: Random, data: bytearray) -> int:
    """A position, half of the time in the first bytes, where headers are."""
    return int(random.integers(min(len(data), 120) if random.random() < 0.5 else len(data)))


def damaged(number: int, seed: int) -> tuple[str, bytes]:
    """One damaged file: what it was, and its bytes."""
    random = np.random.default_rng([seed, number])
    name, content = originals()[int(random.integers(len(originals())))]
    data = bytearray(content)
    for _ in range(int(random.integers(1, 4))):
        if len(data) > 16:
            _CHANGES[int(random.integers(len(_CHANGES)))](random, data)
    if random.random() < 0.5:
        _repair_ogg(data)
        _repair_flac(data)
    return name, bytes(data)


@cache
def _crc_table(width: int, polynomial: int) -> tuple[int, ...]:
    top, mask, table = 1 << (width - 1), (1 << width) - 1, []
    for byte in range(256):
        value = byte << (width - 8)
        for _ in range(8):
            value = ((value << 1) ^ polynomial if value & top else value << 1) & mask
        table.append(value)
    return tuple(table)


def _crc(data: bytes | bytearray, width: int, polynomial: int) -> int:
    table, value, mask = _crc_table(width, polynomial), 0, (1 << width) - 1
    for byte in data:
        value = (value << 8 & mask) ^ table[(value >> (width - 8)) ^ byte]
    return value


def _repair_ogg(data: bytearray) -> None:
    """Give every Ogg page the checksum of its present content."""
    at = data.find(b"OggS")
    while at >= 0 and at + 27 <= len(data):
        segments = data[at + 27 : at + 27 + data[at + 26]]
        end = min(len(data), at + 27 + len(segments) + sum(segments))
        data[at + 22 : at + 26] = bytes(4)
        data[at + 22 : at + 26] = _crc(data[at:end], 32, 0x04C11DB7).to_bytes(4, "little")
        at = data.find(b"OggS", end)


def _repair_flac(data: bytearray) -> None:
    """Give every FLAC frame, as far as they can be told, the checksum of its present content; and none to the whole."""
    if not data.startswith(b"fLaC") or len(data) < 42:
        return
    data[26:42] = bytes(16)  # MD5 of the samples: not known
    starts = [at for at in range(42, len(data) - 6) if data[at] == 0xFF and data[at + 1] in (0xF8, 0xF9)]
    for start, end in itertools.pairwise([*starts, len(data)]):
        if end - start > 8:
            data[end - 2 : end] = _crc(data[start : end - 2], 16, 0x8005).to_bytes(2, "big")


def outcome(source: Any) -> str:
    """What becomes of a source: a digest of its samples, or the class of the error."""
    digest, samples = hashlib.sha256(), 0
    try:
        sound = open_sound(source, None, 48_000)
        for block in sound.blocks:
            if not np.isfinite(block).all():
                return "not finite"
            samples += block.size
            digest.update(block.tobytes())
    except AudioError as error:
        if not str(error) or len(str(error)) > 2000:
            return f"a message of {len(str(error))} characters"
        return type(error).__name__
    return f"{sound.rate} Hz, {samples} samples, {digest.hexdigest()[:16]}"


def log_mels(data: bytes, facts: Any) -> None:
    """Compute what the audio tower would take of the first minute."""
    prepared, policy = recipe("laion"), long_audio_policy("windows", facts, None, None)
    try:
        for number, view in enumerate(audio_features(data, facts, prepared, policy)):
            if not np.isfinite(view.log_mels).all():
                raise AssertionError("a log-mel that is not finite")
            if number == 6:
                return
    except AudioError:
        return


def chunk(first: int, count: int, seed: int, folder: str, facts: Any) -> dict[str, Any]:
    """Try some files; counts, and what was wrong."""
    counts, wrong = Counter[str](), list[str]()
    slowest, began = 0.0, _rss_mb()
    path = Path(folder) / f"{first}.dat"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.simplefilter("ignore", UnfinishedHeaderWarning)
        for number in range(first, first + count):
            name, data = damaged(number, seed)
            started = time.process_time()
            try:
                found = outcome(data)
                if number % 8 == 0:
                    path.write_bytes(data)
                    other = outcome(path)
                    if other != found:
                        wrong.append(f"{number} ({name}): bytes {found}, path {other}")
                    log_mels(data, facts)
            except BaseException:  # noqa: BLE001 - what is raised is what is looked for
                wrong.append(f"{number} ({name}): {traceback.format_exc(limit=-3)}")
                found = "a foreign exception"
            took = time.process_time() - started
            slowest = max(slowest, took)
            if took > SECONDS:
                wrong.append(f"{number} ({name}): {took:.1f} s")
            if found == "not finite" or found.startswith("a message"):
                wrong.append(f"{number} ({name}): {found}")
            counts["decoded" if "samples" in found else found] += 1
    path.unlink(missing_ok=True)
    return {"counts": counts, "wrong": wrong, "slowest": slowest, "growth": _rss_mb() - began}


def _rss_mb() -> float:
    """The most memory this process has had, 10^6 bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> int:
    """Try them all, and report."""
    parser = argparse.ArgumentParser(description="Decode tens of thousands of damaged files.")
    parser.add_argument("--count", type=int, default=70_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    facts = claprt.read_bundle("mini").manifest.audio
    counts, wrong = Counter[str](), list[str]()
    slowest = growth = 0.0
    began, starts = time.perf_counter(), range(0, options.count, CHUNK)
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as folder, context.Pool(options.processes, maxtasksperchild=20) as pool:
        jobs = [
            pool.apply_async(chunk, (first, min(CHUNK, options.count - first), options.seed, folder, facts))
            for first in starts
        ]
        for first, job in zip(starts, jobs, strict=True):
            try:
                done = job.get(PATIENCE_S)
            except multiprocessing.TimeoutError:
                wrong.append(f"files {first} to {first + CHUNK}: the process crashed or hung")
                break
            counts += done["counts"]
            wrong += done["wrong"]
            slowest, growth = max(slowest, done["slowest"]), max(growth, done["growth"])
            if growth > GROWTH_MB:
                wrong.append(f"files {first} to {first + CHUNK}: memory grew by {done['growth']:.0f} MB")
    result = {
        "files": options.count, "seed": options.seed, "originals": len(originals()), "outcomes": dict(counts.most_common()),
        "wrong": len(wrong), "slowest_s": round(slowest, 2), "growth_mb": round(growth),
        "seconds": round(time.perf_counter() - began),
    }  # fmt: skip
    print(json.dumps(result, indent=1))
    print(*wrong[:40], sep="\n")
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main())
