"""Search of a large library: exact and approximate, with the time, the recall and the memory of each.

python benchmarks/library_search.py [--rows 1000000] [--folder FOLDER] [--out FILE]

The vectors are made up: 5000 kinds of sounds of very different frequency in 60 families, varying continuously in 40
directions of the family and a little in all. Queries are vectors near a sound, and vectors as far from all sounds as texts
are (a common offset leaves cosines around 0.3). Each measurement has a process of its own, whose peak memory is stated
with what of it lies in mapped files, which the system can take back.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

import claprt  # noqa: E402
from claprt.library.manifest import LibraryManifest, ModelReference  # noqa: E402
from claprt.library.schema import Table, arrow  # noqa: E402
from claprt.library.search.approximate import BuildOptions  # noqa: E402
from claprt.library.search.query import Query  # noqa: E402
from claprt.library.search.request import Request  # noqa: E402
from claprt.library.store import Store, create_store  # noqa: E402

DIM = 512
PART = 20_000
FAMILIES, KINDS, DIRECTIONS = 60, 5_000, 40
TEXT = "a dog barking"


class Vectors:
    """Draws unit vectors [n, DIM] float32."""

    def __init__(self, seed: int = 0) -> None:
        rng = self.rng = np.random.default_rng(seed)
        scale = np.sqrt(DIM)
        self._mean = rng.normal(size=DIM) / scale
        self._families = rng.normal(size=(FAMILIES, DIM)) / scale
        self._kinds = rng.normal(size=(KINDS, DIM)) / scale
        self._directions = (rng.normal(size=(FAMILIES, DIRECTIONS, DIM)) / scale).astype(np.float32)
        self._family_of = rng.integers(0, FAMILIES, KINDS)
        weights = rng.zipf(1.3, KINDS).clip(max=300).astype(float)
        self._weights = weights / weights.sum()

    def sounds(self, count: int) -> NDArray[np.float32]:
        """Vectors of sounds."""
        kinds = self.rng.choice(KINDS, count, p=self._weights)
        families = self._family_of[kinds]
        rows = (0.6 * self._mean + 0.9 * self._families[families] + 0.6 * self._kinds[kinds]).astype(np.float32)
        amounts = self.rng.normal(size=(count, DIRECTIONS)) * (0.75 ** np.arange(DIRECTIONS) + 0.05)
        for family in range(FAMILIES):
            there = families == family
            rows[there] += amounts[there].astype(np.float32) @ self._directions[family]
        rows += self.rng.normal(size=rows.shape).astype(np.float32) * np.float32(0.25 / np.sqrt(DIM))
        return unit(rows)


def unit(rows: NDArray[Any]) -> NDArray[np.float32]:
    """Rows [n, DIM] scaled to length 1."""
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def queries(vectors: NDArray[Any], count: int, seed: int) -> NDArray[np.float32]:
    """Queries [2 · count, DIM]: first near sounds, then as far from them as texts are."""
    rng = np.random.default_rng(seed)
    noise = rng.normal(size=(2 * count, DIM)) * 0.4 / np.sqrt(DIM)
    offset = rng.normal(size=DIM) / np.sqrt(DIM)
    near = vectors[np.sort(rng.integers(0, len(vectors), 2 * count))].astype(np.float32)
    rng.shuffle(near)
    near[count:] = 0.35 * near[count:] + offset
    return unit(near + noise)


def make_library(folder: Path, rows: int) -> None:
    """Write a library of `rows` sounds of one window each, whose model is mini."""
    if (folder / "library.json").exists():
        return
    with claprt.load("mini", lazy=True) as clap:
        made_by = ModelReference(bundle="mini", name=clap.manifest.name, checkpoint_sha256=clap.manifest.source.sha256)
        store = create_store(folder, LibraryManifest(fingerprint=clap.fingerprint, dim=clap.dim, model=made_by))
    vectors = Vectors()
    with store.writing() as writer:
        for start in range(0, rows, PART):
            writer.commit(rows=[table_of(store, vectors.sounds(min(PART, rows - start)), start)])


def table_of(store: Store, vectors: NDArray[np.float32], first: int) -> Table:
    """Rows with these vectors, of sounds that are numbered from `first`."""
    pa = arrow()
    schema, count = store.schema(), len(vectors)
    numbers = range(first, first + count)
    columns: dict[str, Any] = {
        "id": [f"{number:032x}" for number in numbers],
        "path": [f"/sounds/{number % 97:02}/{number % 1009:04}/take_{number:07}.wav" for number in numbers],
        "sha256": [f"{number:064x}" for number in numbers],
        "size": [960_044] * count,
        "mtime": [1.7e9] * count,
        "duration_s": np.linspace(0.2, 10, count),
        "sample_rate": [48_000] * count,
        "channels": [1] * count,
        "window": [0] * count,
        "start_s": [0.0] * count,
        "embedding": pa.FixedSizeListArray.from_arrays(pa.array(vectors.reshape(-1)), type=schema.field("embedding").type),
        "fingerprint": [store.manifest.fingerprint] * count,
        "missing": [False] * count,
    }
    return pa.table(columns, schema=schema)


def memory_mb() -> dict[str, int]:
    """The peak of this process, and what of its memory is its own and what mapped files."""
    names = {"VmHWM": "peak", "RssAnon": "own", "RssFile": "mapped"}
    lines = (line.split() for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines())
    return {names[line[0].rstrip(":")]: int(line[1]) // 1024 for line in lines if line[0].rstrip(":") in names}


def measure_derive(folder: Path) -> dict[str, Any]:
    """The files that searches need, made anew."""
    shutil.rmtree(folder / "index", ignore_errors=True)
    began = time.perf_counter()
    rows = len(claprt.open_library(folder).vectors())
    return {"rows": rows, "seconds": round(time.perf_counter() - began, 1), "memory_mb": memory_mb()}


def measure_search(folder: Path, *, exact: bool, where: str | None = None) -> dict[str, Any]:
    """Durations of searches, with hits, and for an approximate one the share of the ten nearest that it finds."""
    library = claprt.open_library(folder)

    def search(query: NDArray[np.float32], *, exactly: bool) -> list[str]:
        request = Request(query=Query(vector=query), exact=exactly, where=where)
        return [hit.id for hit in library.searcher.search(request, lambda: library.model)]

    asked = queries(library.vectors(), 30, 1)
    _into_page_cache(folder / "index")
    search(asked[0], exactly=exact)
    times: list[float] = []
    found: list[list[str]] = []
    for query in asked:
        began = time.perf_counter()
        found.append(search(query, exactly=exact))
        times.append(1e3 * (time.perf_counter() - began))
    result: dict[str, Any] = {
        "p50_ms": round(statistics.median(times), 1),
        "p90_ms": round(sorted(times)[int(0.9 * len(times))], 1),
        "memory_mb": memory_mb(),
    }
    if not exact:
        shares = [
            len(set(ids) & set(search(query, exactly=True))) / len(ids) for query, ids in zip(asked, found, strict=True)
        ]
        result |= {"recall@10, sounds": statistics.mean(shares[:30]), "recall@10, texts": statistics.mean(shares[30:])}
    return result


def _into_page_cache(folder: Path) -> None:
    """Read the files once, as searches before would have."""
    for path in folder.rglob("*"):
        if path.is_file():
            with path.open("rb") as file:
                while file.read(1 << 24):
                    pass


def measure_build(folder: Path) -> dict[str, Any]:
    """Building the approximate index."""
    library = claprt.open_library(folder)
    info = library.searcher.build_index(BuildOptions(threads=2), None, lambda _stage, _share: None)
    return {
        "seconds": info.seconds,
        "centres": info.centres,
        "probes": info.probes,
        "recall": info.recall,
        "memory_mb": memory_mb(),
    }


def measure_start(folder: Path) -> dict[str, Any]:
    """From the start of a process to the answer of a search for words; the first one prepares."""
    command = [sys.executable, "-m", "claprt", "search", str(folder), TEXT, "--json"]
    times: list[float] = []
    for _ in range(12):
        began = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        times.append(time.perf_counter() - began)
    return {"first_s": round(times[0], 2), "p50_s": round(statistics.median(times[1:]), 2), "best_s": round(min(times), 2)}


MEASUREMENTS: dict[str, Any] = {
    "derived files": measure_derive,
    "exact": lambda folder: measure_search(folder, exact=True),
    "exact, half filtered": lambda folder: measure_search(folder, exact=True, where="duration_s < 5"),
    "index": measure_build,
    "approximate": lambda folder: measure_search(folder, exact=False),
    "process start": measure_start,
}


def main() -> None:
    """Measure, print, and write the results."""
    parser = argparse.ArgumentParser(description="Search of a large library.")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--start-rows", type=int, default=100_000, help="of the library whose search begins a process")
    parser.add_argument("--folder", type=Path, default=ROOT / "build" / "libraries", help="where the libraries are made")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "library-search.json")
    parser.add_argument(
        "--only", nargs="*", default=list(MEASUREMENTS), help="some of them; others stay as they are in FILE"
    )
    parser.add_argument("--one", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(MEASUREMENTS[options.one[0]](Path(options.one[1]))))
        return
    results: dict[str, Any] = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    results |= {"rows": options.rows, "start rows": options.start_rows, "machine": processor(), "cores": os.cpu_count()}
    for name in options.only:
        rows = options.start_rows if name == "process start" else options.rows
        folder = options.folder / f"{rows}.lib"
        make_library(folder, rows)
        command = [sys.executable, __file__, "--one", name, str(folder)]
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        results[name] = json.loads(done.stdout)
        print(f"{name} ({rows} rows): {results[name]}", flush=True)
    options.out.parent.mkdir(parents=True, exist_ok=True)
    options.out.write_text(json.dumps(results, indent=1) + "\n", encoding="utf-8")


def processor() -> str:
    """Name of the processor."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if Path("/proc/cpuinfo").exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


if __name__ == "__main__":
    main()
