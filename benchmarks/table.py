"""Puts measured results into the documents, between their markers, so that no figure in them is typed by hand.

python benchmarks/table.py            rewrites README.md and docs/parity.md
python benchmarks/table.py --check    says whether they are up to date
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "benchmarks" / "results"

BRIEF = (
    "laion-clap HTSAT-tiny, sounds ≤ 10 s",
    "laion-clap HTSAT-base, sounds ≤ 10 s",
    "laion-clap HTSAT-tiny fused, sounds > 10 s, the same crops",
    "laion-clap HTSAT-base, text, ids identical",
    "transformers, sounds ≤ 10 s",
    "kromosynth's extractor on laion-clap HTSAT-tiny",
    "peak memory above the loaded model, one hour, windows",
)


def parity_table(results: dict[str, Any], only: tuple[str, ...] | None) -> str:
    """A markdown table of parity rows; all of them, or those named."""
    rows = [row for row in results["rows"] if only is None or row["what"] in only]
    if only is not None:
        rows.sort(key=lambda row: only.index(row["what"]))
    lines = ["| against | bar | measured |", "|---|---|---|"]
    lines += [f"| {row['what']} | {row['bar']} | {row['measured']} |" for row in rows]
    if only is None:
        versions = ", ".join(f"{name} {version}" for name, version in results["versions"].items())
        lines += ["", f"Measured with {versions}."]
    return "\n".join(lines)


def rendered(document: str, results: dict[str, Any]) -> str:
    """The document with its tables as the results have them."""
    for kind, only in (("brief", BRIEF), ("full", None)):
        pattern = re.compile(rf"(<!-- parity: {kind} -->\n).*?(<!-- /parity -->)", re.DOTALL)
        table = parity_table(results, only)
        document = pattern.sub(lambda match, table=table: f"{match[1]}{table}\n{match[2]}", document)
    return document


def main() -> int:
    """Rewrites the documents, or with `--check` compares them; the exit status is 1 if they are out of date."""
    results = json.loads((RESULTS / "parity.json").read_text(encoding="utf-8"))
    status = 0
    for path in (ROOT / "README.md", ROOT / "docs" / "parity.md"):
        document = path.read_text(encoding="utf-8")
        fresh = rendered(document, results)
        if "--check" in sys.argv:
            status |= fresh != document
        else:
            path.write_text(fresh, encoding="utf-8")
    print("out of date: run python benchmarks/table.py" if status else "up to date")
    return status


if __name__ == "__main__":
    sys.exit(main())
