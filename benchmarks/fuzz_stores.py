"""Damaged stores, thousands of each kind: vector caches, prepared graphs, bundles and their manifests.

    python benchmarks/fuzz_stores.py [--count N] [--seed S] [--only KIND ...] [--out FILE]

Bits, bytes and pages are changed, cut out, put in and exchanged; facts of manifests are removed and given other values. Of
`vectors` every value that was stored is asked for, also where the file is damaged while it is open. Of `graphs` an entry of
the graph cache is damaged, its record or what was prepared, and a model is loaded that would use it. Of `bundles` the
manifest, a graph or the tokenizer is damaged; of `strangers` too, with the manifest made to fit the new file, as somebody
could hand a bundle over. Exit status 1 if a vector was not the one of the undamaged store, unless the fingerprint (or, of
`strangers`, the file) says that it is another's, if one was not finite, if anything else than an error of ours was raised,
if its message was not printable or endless, if one case took longer than 5 s of processor time, or if memory grew by more
than 300 MB.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import resource
import shutil
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

import claprt
from claprt.engines import onnxruntime_session
from claprt.errors import ClaprtError
from claprt.model.vector_cache import VectorCache

SECONDS = 5.0
GROWTH_MB = 300
LONGEST = 1500
"""Characters of a message."""
ENTRIES = 60
PAGE = 4096
_VALUES: tuple[Any, ...] = (
    0, 1, -1, 1 << 31, 1 << 63, 10**12, 10**400, 0.5, 1e308, -1e308, None, True, "", "x" * 1000, "../x", "/etc/passwd",
    "\x1b[2J", "é", "batch", [], {}, [[]],
)  # fmt: skip
Draw = random.Random


def damage(draw: Draw, content: bytes) -> bytes:
    """Other bytes, most of them at few places."""
    new = bytearray(content or bytes(8))
    for _ in range(draw.choice([1, 1, 3, 30])):
        at = draw.randrange(min(len(new), 2000) if draw.random() < 0.4 else len(new))
        match draw.randrange(8):
            case 0:
                new[at] ^= 1 << draw.randrange(8)
            case 1:
                new[at : at + draw.choice([1, 4, 100, PAGE])] = draw.randbytes(4)
            case 2:
                new[at : at + 8] = b"\xff" * 7 + b"\x7f"
            case 3:
                new[at : at + 512] = bytes(512)
            case 4:
                del new[at : at + draw.randint(1, 200)]
            case 5:
                new[at:at] = draw.randbytes(draw.randint(1, 50))
            case 6:
                one, other = (draw.randrange(len(new) // PAGE + 1) * PAGE for _ in range(2))
                new[one : one + PAGE], new[other : other + PAGE] = new[other : other + PAGE], new[one : one + PAGE]
            case _ if draw.random() < 0.2:
                del new[at:]
            case _:
                new[at] = draw.randrange(256)
        if not new:
            break
    return bytes(new)


def overwrite(draw: Draw, path: Path, content: bytes) -> None:
    """Give a file another content: in place, or as another file of that name.

    SQLite's index of its log is mapped into memory: who cuts it short under a process ends that process, whatever it does.
    """
    if path.name.endswith("-shm"):
        content = content[: path.stat().st_size].ljust(path.stat().st_size, b"\0")
    if draw.random() < 0.5:
        with path.open("r+b") as file:
            file.write(content)
            file.truncate(len(content))
    else:
        path.unlink()
        path.write_bytes(content)


class Vectors:
    """A vector cache of which every value is known."""

    def __init__(self, folder: Path) -> None:
        self._whole, self._work = folder / "whole", folder / "work"
        draw = Draw(0)
        self._values = {bytes([number]) * 32: draw.randbytes(2048 + number % 7) for number in range(ENTRIES)}
        cache = VectorCache(self._whole)
        for key, value in self._values.items():
            cache.put(key, value)

    def try_one(self, draw: Draw) -> str:
        """Damage a copy of it and ask for everything; what came of it."""
        shutil.rmtree(self._work, ignore_errors=True)
        shutil.copytree(self._whole, self._work)
        opened = VectorCache(self._work, memory_mb=1e-9) if draw.random() < 0.4 else None
        if opened is not None:
            opened.get(b"\0" * 32)
        path = draw.choice(sorted(self._work.iterdir()))
        overwrite(draw, path, damage(draw, path.read_bytes()))
        cache = opened or VectorCache(self._work, memory_mb=1e-9)
        found = {key: cache.get(key) for key in self._values}
        cache.put(b"new" * 9, b"x" * 2000)
        if cache.get(b"new" * 9) not in (None, b"x" * 2000):
            return "WRONG: the new value"
        wrong = sum(value is not None and value != self._values[key] for key, value in found.items())
        kept = sum(value is not None for value in found.values())
        return (
            f"WRONG: {wrong} values" if wrong else "all kept" if kept == ENTRIES else "some kept" if kept else "none kept"
        )


class Model:
    """The vectors of the small model, to which those of a damaged one are compared."""

    def __init__(self, folder: Path) -> None:
        self.work = folder / "work"
        self.whole = claprt.read_bundle("mini").path
        self.files = [path.name for path in sorted(self.whole.iterdir()) if path.suffix in (".json", ".onnx")]
        self._sound = np.random.default_rng(0).normal(0, 0.1, 48_000).astype(np.float32)
        os.environ["CLAPRT_GRAPH_CACHE"] = "off"
        self._vectors, self.fingerprint = self._asked(self.whole)

    def fresh(self) -> None:
        """Bring the work folder back to the undamaged bundle."""
        shutil.rmtree(self.work, ignore_errors=True)
        self.work.mkdir()
        for name in self.files:
            shutil.copy2(self.whole / name, self.work / name)

    def outcome(self, path: Path) -> str:
        """What became of a bundle: whether its vectors are the model's, or the class of the error."""
        try:
            vectors, fingerprint = self._asked(path)
        except ClaprtError as error:
            words = str(error)
            if len(words) > LONGEST or not words.isprintable():
                return f"WRONG: a message of {len(words)} characters, {words[:100]!r}"
            return type(error).__name__
        if not np.isfinite(vectors).all():
            return "WRONG: a vector that is not finite"
        if np.array_equal(vectors, self._vectors):
            return "the same vectors"
        return "WRONG: other vectors" if fingerprint == self.fingerprint else "other vectors, and another fingerprint"

    def _asked(self, path: Path) -> tuple[Any, str]:
        with claprt.load(path, provider="cpu") as clap:
            sound, text = clap.embed_audio(self._sound, 48_000), clap.embed_text("a dog barking")
            return np.stack([sound, text]), clap.fingerprint


class Graphs:
    """Entries of the graph cache, and its records of what was hashed."""

    def __init__(self, folder: Path) -> None:
        self._model, self._whole, self._work = Model(folder), folder / "prepared", folder / "cache"
        onnxruntime_session._WORTH_KEEPING = 0  # noqa: SLF001 # pyright: ignore[reportPrivateUsage] # the small model's graphs too
        os.environ["CLAPRT_GRAPH_CACHE"] = str(self._whole)
        self._model.outcome(self._model.whole)
        os.environ["CLAPRT_GRAPH_CACHE"] = str(self._work)

    def try_one(self, draw: Draw) -> str:
        """Damage one file of a copy, and load."""
        shutil.rmtree(self._work, ignore_errors=True)
        shutil.copytree(self._whole, self._work)
        path = draw.choice([path for path in sorted(self._work.rglob("*")) if path.is_file() and path.stat().st_size])
        overwrite(draw, path, damage(draw, path.read_bytes()))
        return f"{path.suffix}: {self._model.outcome(self._model.whole)}"


class Bundles:
    """Bundles of which one file is not the exported one; of strangers, where the manifest was made to fit it."""

    def __init__(self, folder: Path, *, fitting: bool) -> None:
        self._model, self._fitting = Model(folder), fitting
        os.environ["CLAPRT_GRAPH_CACHE"] = "off"

    def try_one(self, draw: Draw) -> str:
        """Damage one file, or facts of the manifest, and load."""
        model = self._model
        model.fresh()
        name = draw.choice(model.files)
        path = model.work / name
        if name == "manifest.json" and draw.random() < 0.8:
            facts = json.loads(path.read_bytes())
            for _ in range(draw.choice([1, 1, 2])):
                change_a_fact(draw, facts)
            path.write_text(json.dumps(facts), encoding="utf-8")
        else:
            content = damage(draw, path.read_bytes())
            overwrite(draw, path, content)
            if self._fitting and name != "manifest.json":
                manifest = model.work / "manifest.json"
                facts = json.loads(manifest.read_bytes())
                fit(facts, name, content)
                manifest.write_text(json.dumps(facts), encoding="utf-8")
        found = model.outcome(model.work)
        if self._fitting and name != "manifest.json" and found == "WRONG: other vectors":
            found = "other vectors, of another file"
        return f"{path.suffix}: {found}"


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every container within a manifest, and each of its keys."""
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield value, key
        yield from places(inner)


def change_a_fact(draw: Draw, facts: dict[str, Any]) -> None:
    """Remove one, double it or give it another value."""
    container, key = draw.choice(list(places(facts)))
    value = container[key]
    match draw.randrange(3):
        case 0:
            del container[key]
        case 1 if isinstance(value, int | float | str):
            container[key] = value * 2
        case _:
            container[key] = draw.choice(_VALUES)


def fit(facts: Any, name: str, content: bytes) -> None:
    """Give a file of a manifest the digest and size of another content."""
    for container, key in list(places(facts)):
        stated = container[key]
        if isinstance(stated, dict) and (key == name or stated.get("file") == name):
            stated.update(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


KINDS: dict[str, Callable[[Path], Any]] = {
    "vectors": Vectors,
    "bundles": lambda folder: Bundles(folder, fitting=False),
    "strangers": lambda folder: Bundles(folder, fitting=True),
    "graphs": Graphs,
}


def tried(kind: str, count: int, seed: int, folder: Path) -> tuple[Counter[str], list[str], float, float]:
    """How often each outcome, what was wrong, the longest processor time in seconds, and the growth of memory in MB."""
    store, counts, wrong, slowest = KINDS[kind](folder), Counter[str](), list[str](), 0.0
    began = _peak_mb()
    for number in range(count):
        started = time.process_time()
        try:
            found = store.try_one(Draw(f"{seed}/{kind}/{number}"))
        except BaseException as error:
            if isinstance(error, KeyboardInterrupt):
                raise
            found = f"WRONG: {traceback.format_exc(limit=-3)}"
        took = time.process_time() - started
        slowest = max(slowest, took)
        if "WRONG" in found or took > SECONDS:
            wrong.append(f"{kind} {number}: {found}, {took:.1f} s")
        counts[found.partition("\n")[0]] += 1
    growth = _peak_mb() - began
    if growth > GROWTH_MB:
        wrong.append(f"{kind}: memory grew by {growth:.0f} MB")
    return counts, wrong, slowest, growth


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def main() -> int:
    """Try them all, and report."""
    parser = argparse.ArgumentParser(description="Damage caches and bundles, and use them.")
    parser.add_argument("--count", type=int, default=2000, help="of each kind (%(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", nargs="*", choices=KINDS, default=list(KINDS))
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    result: dict[str, Any] = {"each": options.count, "seed": options.seed}
    faults: list[str] = []
    for kind in options.only:
        with tempfile.TemporaryDirectory() as temporary:
            counts, wrong, slowest, growth = tried(kind, options.count, options.seed, Path(temporary))
        result[kind] = {
            "outcomes": dict(counts.most_common()), "wrong": len(wrong), "slowest_s": round(slowest, 2),
            "growth_mb": round(growth),
        }  # fmt: skip
        faults += wrong
    print(json.dumps(result, indent=1))
    print(*faults[:20], sep="\n")
    if options.out is not None:
        options.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return int(bool(faults))


if __name__ == "__main__":
    sys.exit(main())
