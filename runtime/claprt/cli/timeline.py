"""`claprt timeline`: what is heard when in a sound."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from claprt.cli.answers import files_and_words
from claprt.cli.options import load_model
from claprt.cli.sounds import add_file_options, sound_progress, sound_source
from claprt.cli.time_options import add_time_options, time_arguments
from claprt.errors import AudioError, OptionError
from claprt.system.terminal import cells, columns, fit, note, printable, report_written, say
from claprt.tasks.timeline.files import check_output
from claprt.tasks.timeline.functions import timeline
from claprt.tasks.timeline.result import Timeline

_LEVELS = " ▁▂▃▄▅▆▇█"
_NAME = 30
_EPILOG = """\
examples:
  claprt timeline street.wav --labels "a dog barking" "a siren" "rain"
  claprt timeline street.wav --labels dog,siren,rain --window 3 --hop 0.5 --merge 1
  claprt timeline street.wav --labels dog,rain -o street.png -o street.txt   # a picture; labels for Audacity
  claprt timeline recordings/ --labels-file labels.txt --json > events.jsonl
"""


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "timeline",
        usage="claprt timeline FILE ... --labels LABEL ... [options]",
        help="say what is heard when",
        description="Probabilities of labels over time, and events with onset and offset.",
        epilog=_EPILOG,
    )
    add_file_options(command, on_error="skip")
    command.add_argument("--json", action="store_true", help="one JSON object a file")
    command.add_argument(
        "-o",
        "--output",
        action="append",
        default=[],
        metavar="PATH",
        help="write what the ending says: .json, .csv (probabilities), .tsv (events), .txt (Audacity's labels), .png, "
        ".svg, .pdf; may be repeated",
    )
    add_time_options(command)
    command.set_defaults(run=run, command=command)


def run(options: argparse.Namespace) -> int:
    """Run the command; the exit status is 1 if a file could not be embedded.

    Raises:
        OptionError: If there are several files and `--output`, or that cannot be written.
        AudioError: If a file cannot be embedded and `--on-error` is `raise`.
    """
    files, labels = files_and_words(options, "label")
    outputs = [Path(path) for path in options.output]
    for path in outputs:
        check_output(path, len(labels))
        if not path.parent.is_dir():
            raise OptionError(f"{path}: there is no folder {path.parent}.")
    if outputs and len(files) > 1:
        raise OptionError(f"--output writes the timeline of one file, and there are {len(files)}; use --json for several.")
    clap = load_model(options)
    if options.scores == "tag" and clap.manifest.tagging is None:
        note(options, "this bundle is not calibrated for tags (claprt calibrate); they are held against neutral prompts.")
    status, warned = 0, False
    for number, file in enumerate(files):
        try:
            with sound_progress(options, file) as progress:
                found = timeline(
                    sound_source(file), labels=labels, model=clap, progress=progress, **time_arguments(options)
                )
        except AudioError as error:
            if options.on_error == "raise":
                raise
            say(f"skipped: {printable(str(error))}")
            status = 1
            continue
        if found.warning is not None and not warned:
            note(options, found.warning)
            warned = True
        for path in outputs:
            found.save(path)
            report_written(options, path)
        if options.json:
            print(json.dumps({**found.to_dict(), "source": file}), flush=True)
        elif not outputs:
            if len(files) > 1:
                print(f"{chr(10) if number else ''}{printable(file)}")
            print(chart(found), flush=True)
    return status


def chart(found: Timeline) -> str:
    """A strip for each label, as wide as the terminal at most, and a line for each event."""
    total = columns() or 80
    width = min(max(cells(printable(label)) for label in found.labels), _NAME, max(8, total - 30))
    room = max(8, min(total - width - 12, 4 * len(found.starts_s), 120))
    lines = [
        f"{fit(label, width)}  {strip(found, position, room)}  {found.probabilities[:, position].max():6.1%}"
        for position, label in enumerate(found.labels)
    ]
    end = f"{found.duration_s:.1f} s"
    lines.append(f"{' ' * width}  0{end:>{room - 1}}  highest")
    for event in found.events:
        times = f"{event.onset_s:8.1f} – {event.offset_s:.1f} s"
        lines.append(f"{times}  {fit(event.label, width)}  {event.peak:6.1%}")
    if not found.events:
        lines.append(f"no event: no probability reached {found.options.on:g}")
    return "\n".join(lines)


def strip(found: Timeline, position: int, room: int) -> str:
    """The probability of a label over time in so many characters, from low to high."""
    times = (np.arange(room) + 0.5) * found.duration_s / room
    windows = np.clip(np.searchsorted(found.edges_s, times, side="right") - 1, 0, len(found.starts_s) - 1)
    levels = np.ceil(found.probabilities[windows, position] * (len(_LEVELS) - 1) - 0.05).astype(int)
    return "".join(_LEVELS[level] for level in levels.clip(0).tolist())
