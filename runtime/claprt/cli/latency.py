"""`claprt latency`: whether a sound is embedded within the target, and where the time goes."""

from __future__ import annotations

import argparse
import json
import math
from typing import Any

from claprt.cli.options import add_model_options, load_model
from claprt.errors import OptionError
from claprt.evaluation.latency import STAGES, Latency, Percentiles, measure_latency
from claprt.system.terminal import say


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "latency",
        usage="claprt latency [options]",
        help="measure against a target",
        description=(
            "Measures sounds of 1 s and 10 s and a batch of ten, from the bytes of a 44.1 kHz WAV to the vector, and says "
            "whether 95 % of the sounds took less than the target. The exit status is 1 if not."
        ),
    )
    command.add_argument(
        "--target-ms", type=float, default=100.0, metavar="MS", help="milliseconds a sound may take (%(default)g)"
    )
    command.add_argument("--trials", type=int, default=30, metavar="N", help="calls of each kind (%(default)s)")
    command.add_argument("--json", action="store_true", help="print the figures as JSON")
    add_model_options(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Run the command; the exit status is 1 if the target was missed.

    Raises:
        OptionError: If the number of trials or the target is out of range.
    """
    if options.trials < 1:
        raise OptionError(f"--trials {options.trials} is not possible; give 1 or more.")
    if not 0 < options.target_ms < math.inf:
        raise OptionError(f"--target-ms {options.target_ms:g} is not possible; give a number of milliseconds above 0.")
    clap = load_model(options, name_small=False)

    def progress(name: str) -> None:
        if not options.quiet:
            say(f"measuring {name} …")

    latency = measure_latency(clap, target_ms=options.target_ms, trials=options.trials, progress=progress)
    print(json.dumps(latency.to_dict(), indent=2) if options.json else table(latency))
    return 0 if latency.met else 1


def table(latency: Latency) -> str:
    """The figures and the verdict as text."""
    untrained = "" if latency.trained else ", untrained"
    lines = [f"{latency.model}{untrained}, {latency.precision} on {latency.provider}, {latency.trials} trials each"]
    lines.append(f"{'milliseconds':24} {'p50':>8} {'p95':>8} {'p99':>8}")
    for case in latency.cases:
        lines.append(_row(f"{case.name}, whole call", case.total))
        lines.extend(_row(f"  {stage}", case.stages[stage]) for stage in STAGES if stage in case.stages)
    for case in latency.cases:
        verdict = "meets" if case.p95_per_sound_ms < latency.target_ms else "MISSES"
        lines.append(f"{case.name}: p95 of {case.p95_per_sound_ms:.1f} ms a sound {verdict} {latency.target_ms:g} ms")
    lines.append("TARGET MET" if latency.met else "TARGET MISSED")
    return "\n".join(lines)


def _row(name: str, figures: Percentiles) -> str:
    return f"{name:24} {figures.p50_ms:8.1f} {figures.p95_ms:8.1f} {figures.p99_ms:8.1f}"
