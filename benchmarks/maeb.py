"""MAEB's tasks on every precision of a bundle: a table of main scores, by mteb's own code.

python benchmarks/maeb.py [--bundle MODEL] [--precision NAME …] [--benchmark NAME | --task NAME …] [--out FILE]

Needs mteb (pip install mteb) and a network, over which mteb fetches its data sets. What is in mteb's own cache of results,
which tells precisions and windows apart, is not computed again. Of `mini` the scores on ESC-50 say nothing: it was trained
on sounds of it.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import claprt
from claprt.bundle.graphs import Stage
from claprt.errors import ClaprtError
from claprt.integrations.mteb import ClapEncoder


def main_scores(clap: claprt.Clap, tasks: Sequence[Any], **options: Any) -> dict[str, float | None]:
    """The main score of each task, None where mteb could not run it.

    Args:
        clap: The model.
        tasks: mteb's tasks.
        options: Of `mteb.evaluate`.
    """
    mteb = importlib.import_module("mteb")
    found = mteb.evaluate(ClapEncoder(clap), tasks=tasks, raise_error=False, **options)
    scores = {result.task_name: float(result.get_score()) for result in found.task_results}
    return {task.metadata.name: scores.get(task.metadata.name) for task in tasks}


def markdown(scores: dict[str, dict[str, float | None]]) -> str:
    """One row for each task, one column for each precision."""
    tasks = list(next(iter(scores.values())))
    lines = [f"| task | {' | '.join(scores)} |", f"|{'---|' * (len(scores) + 1)}"]
    for task in tasks:
        cells = ["–" if (score := of[task]) is None else f"{score:.4f}" for of in scores.values()]
        lines.append(f"| {task} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Evaluate, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", default="mini", metavar="MODEL")
    parser.add_argument("--precision", nargs="+", metavar="NAME", help="by default those that the bundle holds")
    parser.add_argument("--benchmark", default="MAEB(beta)", metavar="NAME", help="mteb's name (%(default)s)")
    parser.add_argument("--task", nargs="+", metavar="NAME", help="mteb's names of tasks, instead of a benchmark")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the scores as JSON")
    options = parser.parse_args()
    mteb = importlib.import_module("mteb")
    tasks = list(mteb.get_tasks(tasks=options.task) if options.task else mteb.get_benchmark(options.benchmark).tasks)
    scores: dict[str, dict[str, float | None]] = {}
    with claprt.load(options.bundle) as clap:
        held = [str(precision) for precision in clap.manifest.graphs[Stage.AUDIO]]
    for precision in options.precision or held:
        try:
            clap = claprt.load(options.bundle, precision=precision)
        except ClaprtError as error:  # fp16 without a GPU
            if options.precision:
                raise
            print(f"{precision} is left out: {error}", file=sys.stderr)
            continue
        with clap:
            scores[precision] = main_scores(clap, tasks)
    print(markdown(scores))
    if options.out is not None:
        options.out.write_text(json.dumps(scores, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
