"""Indexing of a library: rate, second run, memory, partitions, processes, Ray, and the formats that were compared.

python benchmarks/library.py [--only NAME …] [--folder FOLDER] [--out FILE]

    rate          claprt index against the model's own batch throughput on the same files, by turns
    rerun         a second run over a hundred thousand files that have not changed, as a process
    memory        a million rows written through the indexer with made-up vectors: rate and peak memory
    partitions    two partitions merged against one run
    processes     --workers 2 against --ray with two actors, after one run of each
    formats       Parquet against LanceDB (pip install lancedb): size, writing, opening, reading

`benchmarks/library_search.py` has the numbers of searching; runs that are killed are `pytest -m slow
tests/library/test_killed.py`.
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
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import numpy as np  # noqa: E402
import soundfile  # noqa: E402

import claprt  # noqa: E402
from benchmarks.turns import rates  # noqa: E402
from claprt.audio.synthetic import SOUNDS  # noqa: E402
from claprt.library.create import index  # noqa: E402
from claprt.library.embedding import Claims, Outcome, Timings  # noqa: E402
from claprt.library.indexing import Indexer, RunOptions  # noqa: E402
from claprt.library.items import Item, LocalFile  # noqa: E402
from claprt.library.maintenance import merge  # noqa: E402
from claprt.library.manifest import LibraryManifest, ModelReference  # noqa: E402
from claprt.library.ray_data import RayOptions  # noqa: E402
from claprt.library.schema import arrow  # noqa: E402
from claprt.library.sources import Sources  # noqa: E402
from claprt.library.store import create_store  # noqa: E402

CLIPS, CLIP_S, RATE = 240, 10, 48_000
CLIPS_OF_PROCESSES = 960
ROUNDS = 5
FILES = 100_000
ROWS = 1_000_000
DIM = 512


def write_clips(folder: Path, count: int = CLIPS) -> list[str]:
    """Ten-second clips, each with noise of its own."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    kinds = [make(CLIP_S * RATE, RATE) for make in SOUNDS.values()]
    for number in range(count):
        samples = 0.7 * kinds[number % len(kinds)] + rng.uniform(-0.05, 0.05, CLIP_S * RATE)
        soundfile.write(folder / f"{number:04d}.wav", samples.astype(np.float32), RATE)
    return sorted(map(str, folder.iterdir()))


def fresh(folder: Path) -> Path:
    """A folder that is not there."""
    shutil.rmtree(folder, ignore_errors=True)
    return folder


def measure_rate(work: Path) -> dict[str, Any]:
    """Sounds per second of the model and of the indexer, by turns."""
    files, clap = write_clips(work / "clips"), claprt.load("mini")

    def engine() -> None:
        for _ in clap.iter_audio(files):
            pass

    found = rates(
        {"engine": engine, "library": lambda: index([str(work / "clips")], fresh(work / "library"), clap)}, CLIPS, ROUNDS
    )
    ratios = found["library"] / found["engine"]
    return {
        "engine_per_s": round(float(np.median(found["engine"])), 1),
        "library_per_s": round(float(np.median(found["library"])), 1),
        "ratio": round(float(np.median(ratios)), 3),
        "ratios": np.round(ratios, 3).tolist(),
    }


def measure_rerun(work: Path) -> dict[str, Any]:
    """Seconds of `claprt index` over files that have not changed."""
    sounds = work / "many"
    sounds.mkdir()
    first = sounds / "000000.wav"
    soundfile.write(first, np.random.default_rng(0).uniform(-0.5, 0.5, 800).astype(np.float32), 8_000)
    content = first.read_bytes()
    for number in range(FILES):
        folder = sounds / f"{number % 100:02d}"
        folder.mkdir(exist_ok=True)
        (folder / f"{number:06d}.wav").write_bytes(content)
    command = [sys.executable, "-m", "claprt", "index", str(sounds), "--out", str(work / "many.lib"), "--json", "--quiet"]
    taken: list[float] = []
    done: dict[str, Any] = {}
    for _ in range(4):
        began = time.perf_counter()
        done = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
        taken.append(time.perf_counter() - began)
    assert done["unchanged"] == FILES + 1
    return {"files": FILES, "first_run_s": round(taken[0], 2), "second_run_s": round(statistics.median(taken[1:]), 2)}


class MadeUp:
    """An embedder that makes vectors up."""

    def __init__(self) -> None:
        self.timings = Timings()

    def run(self, items: Iterator[Item], claims: Claims) -> Iterator[Outcome]:
        """Draw a vector for each item."""
        rng = np.random.default_rng(0)
        for number, item in enumerate(items):
            vector = rng.standard_normal((1, DIM), np.float32)
            sha256 = f"{number * 0x9E3779B97F4A7C15 % 2**64:016x}{number:048x}"
            assert claims.claim(sha256)
            yield Outcome(item.path, item.size, item.mtime, sha256, 10.0, RATE, 1, vector[0], vector, (0.0,))

    def close(self) -> None:
        """Nothing is held."""


class Listed(Sources):
    """Sources that name files which are not there."""

    def scan(self, wanted: Any = None) -> Iterator[Item]:
        """Name them."""
        del wanted
        for number in range(ROWS):
            path = f"/archive/{number % 1000:03d}/{number:09d}.wav"
            yield LocalFile(path, 1_000_000 + number, 1.0e9 + number, path)


def write_million(folder: Path) -> None:
    """Write the rows and print the rate and the memory, at each tenth."""
    model = ModelReference(bundle="mini", name="made up", checkpoint_sha256="0" * 64)
    store = create_store(folder, LibraryManifest(fingerprint="made up", dim=DIM, model=model))
    arrow()
    began, before, marks = time.perf_counter(), _resident_mb(), list[float]()

    def watch(summary: Any) -> None:
        if summary.embedded % (ROWS // 10) == 0:
            marks.append(round(_resident_mb() - before, 1))

    with store.writing() as writer:
        Indexer(store, writer, MadeUp(), RunOptions(), watch).run(Listed([str(ROOT)]))
    taken = time.perf_counter() - began
    print(json.dumps({
        "rows": ROWS, "rows_per_s": round(ROWS / taken), "resident_mb_at_each_tenth": marks,
        "peak_mb_above_start": round(_peak_mb() - before, 1), "parts": len(store.parts()),
        "bytes_per_row": round(sum((folder / part.file).stat().st_size for part in store.parts()) / ROWS),
    }))  # fmt: skip


def _resident_mb() -> float:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def _peak_mb() -> float:
    import resource

    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6


def measure_memory(work: Path) -> dict[str, Any]:
    """A process of its own writes the rows."""
    command = [sys.executable, __file__, "--write", str(work / "million")]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def rows_of(library: Path) -> list[dict[str, Any]]:
    """All rows, sorted."""
    rows = claprt.open_library(library).to_arrow().to_pylist()
    return sorted(rows, key=lambda row: (row["path"], row["window"]))


def measure_partitions(work: Path) -> dict[str, Any]:
    """Whether partitions that are merged hold what one run does."""
    if not (work / "clips").exists():
        write_clips(work / "clips")
    clap, clips = claprt.load("mini"), [str(work / "clips")]
    index(clips, fresh(work / "one"), clap)
    for number in (1, 2):
        index(clips, fresh(work / f"part{number}"), clap, options=RunOptions(partition=(number, 2)))
    merge(fresh(work / "merged"), [work / "part1", work / "part2"])
    return {"rows": CLIPS, "identical": rows_of(work / "merged") == rows_of(work / "one")}


def measure_processes(work: Path) -> dict[str, Any]:
    """Sounds per second of two workers and of two actors, and whether the rows are the same.

    The start of processes and models is left out: it is what a run of the first 80 clips takes as well.
    """
    write_clips(work / "clips", CLIPS_OF_PROCESSES)
    clap = claprt.load("mini")
    few, all_of_them = str(work / "clips" / "00[0-7]?.wav"), str(work / "clips")
    kinds: dict[str, dict[str, Any]] = {"workers": {"workers": 2}, "ray": {"ray": RayOptions(actors=2)}}
    found: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(3):
        for name, options in kinds.items():
            short, long = (index([one], fresh(work / name), clap, **options) for one in (few, all_of_them))
            found[name].append((long.embedded - short.embedded) / (long.seconds - short.seconds))
    same = rows_of(work / "workers") == rows_of(work / "ray")
    rate = {name: statistics.median(each) for name, each in found.items()}
    shown = {f"{name}_per_s": round(each, 1) for name, each in rate.items()}
    return shown | {
        "runs": {name: np.round(each, 1).tolist() for name, each in found.items()},
        "ratio": round(rate["ray"] / rate["workers"], 3),
        "same_rows": same,
    }


def measure_formats(work: Path) -> dict[str, Any]:
    """The same hundred thousand rows in Parquet parts and in a table of LanceDB."""
    import lancedb  # pyright: ignore[reportMissingImports]

    pa = arrow()
    rng, count, parts = np.random.default_rng(0), 100_000, 12
    schema = pa.schema([("id", pa.string()), ("path", pa.string()), ("embedding", pa.list_(pa.float32(), DIM))])
    tables = [
        pa.table(
            {
                "id": [f"{part:016x}{row:016x}" for row in range(count // parts)],
                "path": [f"/archive/{part}/{row}.wav" for row in range(count // parts)],
                "embedding": pa.FixedSizeListArray.from_arrays(
                    pa.array(rng.standard_normal(count // parts * DIM, np.float32)), DIM
                ),
            },
            schema=schema,
        )
        for part in range(parts)
    ]

    def parquet() -> None:
        fresh(work / "parquet").mkdir()
        for number, table in enumerate(tables):
            pa.parquet.write_table(table, work / "parquet" / f"{number}.parquet", compression="none", use_dictionary=False)

    def lance() -> None:
        table = lancedb.connect(fresh(work / "lance")).create_table("rows", schema=schema)
        for one in tables:
            table.add(one)

    writing = rates({"parquet": parquet, "lance": lance}, count, 3)
    reading = rates(
        {
            "parquet": lambda: pa.concat_tables([pa.parquet.read_table(one) for one in (work / "parquet").iterdir()]),
            "lance": lambda: lancedb.connect(work / "lance").open_table("rows").to_arrow(),
        },
        count, 3,
    )  # fmt: skip
    opening = {
        "parquet": "import pyarrow.parquet as p, glob; [p.ParquetFile(f).metadata for f in glob.glob('parquet/*')]",
        "lance": "import lancedb; lancedb.connect('lance').open_table('rows').count_rows()",
    }
    started: dict[str, list[float]] = {name: [] for name in opening}
    for _ in range(5):
        for name, program in opening.items():
            began = time.perf_counter()
            subprocess.run([sys.executable, "-c", program], cwd=work, check=True)
            started[name].append(time.perf_counter() - began)
    return {
        name: {
            "rows_written_per_s": round(float(np.median(writing[name]))),
            "rows_read_per_s": round(float(np.median(reading[name]))),
            "import_and_open_s": round(statistics.median(started[name]), 2),
            "bytes_per_row": round(sum(p.stat().st_size for p in (work / name).rglob("*") if p.is_file()) / count),
        }
        for name in opening
    }


MEASUREMENTS = {
    "rate": measure_rate, "rerun": measure_rerun, "memory": measure_memory, "partitions": measure_partitions,
    "processes": measure_processes, "formats": measure_formats,
}  # fmt: skip


def main() -> None:
    """Measure, and write a JSON file."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--only", nargs="*", choices=list(MEASUREMENTS), default=list(MEASUREMENTS))
    parser.add_argument("--folder", type=Path, help="where to work, with 3 GB free (a temporary folder)")
    parser.add_argument("--out", type=Path, default=ROOT / "build" / "library.json")
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.write:
        write_million(options.write)
        return
    found = json.loads(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    found["machine"] = {"processor": platform.processor() or platform.machine(), "cores": os.cpu_count()}
    for name in options.only:
        with tempfile.TemporaryDirectory(dir=options.folder) as work:
            found[name] = MEASUREMENTS[name](Path(work))
        print(name, json.dumps(found[name]), flush=True)
        options.out.parent.mkdir(exist_ok=True)
        options.out.write_text(json.dumps(found, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
