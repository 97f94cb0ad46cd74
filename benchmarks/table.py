"""Puts measured results into the documents, between their markers, so that no figure in them is typed by hand.

python benchmarks/table.py            rewrites README.md and those documents in docs/ that have tables
python benchmarks/table.py --check    says whether they are up to date
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks.tables.library import library_search_table, near_duplicates_table  # noqa: E402
from benchmarks.tables.scores import score_checks_table, scores_table  # noqa: E402
from benchmarks.tables.services import service_table, soak_table, triton_table  # noqa: E402
from benchmarks.tables.speed import bench_table, brief_bench_table, gpu_table, tensorrt_rtx_table  # noqa: E402
from benchmarks.tables.vectors import mini_table, parity_table, quality_table, tagging_table  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"


def tables() -> dict[str, str]:
    """Every table by the name of its marker."""
    parity, mini, bench, quality, triton, tagging, service = (
        _read(name) for name in ("parity", "mini", "bench", "quality", "triton", "tagging", "service")
    )
    return {
        "parity": parity_table(parity),
        "mini": mini_table(mini),
        "bench: brief": brief_bench_table(bench, quality, parity),
        "bench: full": bench_table(bench),
        "bench: another": bench_table(_read("bench-another")),
        "quality": quality_table(quality),
        "triton": triton_table(triton),
        "tagging": tagging_table(tagging),
        "service": service_table(service),
        "soak": soak_table(_read("soak")),
        "service: another": service_table(_read("service-another")),
        "protocols": scores_table(_read("scores")),
        "score-checks": score_checks_table(_read("scores")),
        "tensorrt-rtx": tensorrt_rtx_table(_read("tensorrt-rtx")),
        "gpu": gpu_table(_read("gpu")),
        "library-search": library_search_table(_read("library-search")),
        "near-duplicates": near_duplicates_table(_read("near-duplicates")),
    }


def _read(name: str) -> dict[str, Any]:
    """A results file; those of `-another` are an earlier run on another machine."""
    return json.loads((RESULTS / f"{name}.json").read_text(encoding="utf-8"))


def rendered(document: str, found: dict[str, str]) -> str:
    """The document with its tables as the results have them."""
    for name, table in found.items():
        end = name.partition(":")[0]
        pattern = re.compile(rf"(<!-- {name} -->\n).*?(<!-- /{end} -->)", re.DOTALL)
        document = pattern.sub(lambda match, table=table: f"{match[1]}{table}\n{match[2]}", document)
    return document


def main() -> int:
    """Rewrite the documents, or with `--check` compare them; the exit status is 1 if they are out of date."""
    found = tables()
    status = 0
    for path in (
        ROOT / "README.md",
        *(
            ROOT / "docs" / f"{name}.md"
            for name in (
                "parity",
                "mini",
                "performance",
                "triton",
                "scores",
                "scores-report",
                "serve",
                "tensorrt",
                "library-search",
            )
        ),
    ):
        document = path.read_text(encoding="utf-8")
        fresh = rendered(document, found)
        if "--check" in sys.argv:
            status |= fresh != document
        else:
            path.write_text(fresh, encoding="utf-8")
    print("out of date: run python benchmarks/table.py" if status else "up to date")
    return status


if __name__ == "__main__":
    sys.exit(main())
