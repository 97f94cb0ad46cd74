"""`claprt evaluate`: how good a bundle is on a labelled dataset."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from claprt.cli.answers import split_words
from claprt.cli.options import add_model_options, add_sound_options, load_model
from claprt.dataset import read_dataset
from claprt.errors import OptionError
from claprt.evaluate import DEFAULT_TEMPLATE, Evaluation, Retrieval, ZeroShot, check_picture, confusion_picture, evaluate

_EPILOG = """\
datasets:
  a CSV file with a header: file, label and/or caption…, fold
  a folder with labels.csv, with ESC-50's meta/esc50.csv, or with one folder of sounds for each class

examples:
  claprt evaluate --dataset ESC-50 --bundle music_audioset_epoch_15_esc_90.14
  claprt evaluate --dataset esc10 --fold 4 --confusion confusion.png --json scores.json
"""


def add(commands: Any) -> None:
    """Adds the command."""
    command = commands.add_parser(
        "evaluate",
        help="score a bundle on a labelled dataset",
        description="Zero-shot accuracy on a labelled dataset, and retrieval where it has captions.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--dataset", required=True, metavar="FOLDER|CSV", help="the dataset")
    command.add_argument("--labels", nargs="+", default=[], metavar="LABEL", help="classes (those of the dataset)")
    command.add_argument(
        "--template", action="append", metavar="TEXT", help=f"sentence with {{}}; may be repeated ({DEFAULT_TEMPLATE!r})"
    )
    command.add_argument("--fold", action="append", default=[], metavar="N", help="only this fold; may be repeated")
    command.add_argument("--confusion", type=Path, metavar="FILE", help="write the confusion matrix as a picture (.png)")
    command.add_argument("--json", type=Path, metavar="FILE", help="write all figures; - is standard output")
    add_sound_options(command)
    add_model_options(command)
    command.set_defaults(run=run)


def run(options: argparse.Namespace) -> int:
    """Runs the command."""
    for output in (options.confusion, options.json):
        if output is not None and not output.parent.is_dir():
            raise OptionError(f"{output}: there is no folder {output.parent}.")
        if output is not None and output.is_dir():
            raise OptionError(f"{output} is a folder; name a file in it.")
    if options.confusion is not None:
        check_picture(options.confusion)
    dataset = read_dataset(options.dataset, folds=options.fold)
    if options.confusion is not None and not dataset.labels:
        raise OptionError(f"{dataset.name} has captions and no labels, so there is no confusion to draw.")
    clap = load_model(options)
    result = evaluate(
        clap,
        dataset,
        labels=split_words(options.labels),
        templates=options.template or [DEFAULT_TEMPLATE],
        progress=_bar,
    )
    if result.trained_on is not None:
        print(
            f"note: {clap.manifest.name} was trained on {result.trained_on}; figures on these are no test.", file=sys.stderr
        )
    if str(options.json) == "-":
        print(json.dumps(result.to_dict(), indent=1))
    else:
        print(summary(result))
        if options.json is not None:
            options.json.write_text(json.dumps(result.to_dict(), indent=1) + "\n", encoding="utf-8")
    if options.confusion is not None:
        confusion_picture(result.zero_shot[0], options.confusion, f"{clap.manifest.name} on {dataset.name}")
    return 0


def _bar(items: Iterable[Any], total: int) -> Iterable[Any]:
    return tqdm(items, total=total, unit="file", disable=not sys.stderr.isatty())


def summary(result: Evaluation) -> str:
    """The figures as tables."""
    lines = [f"{result.sounds} sounds of {result.dataset}", f"fingerprint {result.fingerprint}"]
    lines += [
        f"\nzero-shot, {scored.template!r}: top-1 {scored.top1:.4f}   top-5 {scored.top5:.4f}"
        for scored in result.zero_shot
    ]
    if result.zero_shot:
        lines += ["", *_classes(result.zero_shot[0])]
    for name, found in (("text to audio", result.text_to_audio), ("audio to text", result.audio_to_text)):
        if found is not None:
            lines.append(f"\n{name}, {_retrieval(found)}")
    return "\n".join(lines)


def _classes(scored: ZeroShot) -> list[str]:
    width = max(5, *map(len, scored.labels))
    lines = [f"{'class':{width}}  sounds  recall  precision  mostly taken for"]
    for row, (label, (count, recall, precision)) in enumerate(scored.by_class.items()):
        wrong = scored.confusion[row].copy()
        wrong[row] = 0
        taken = f"{scored.labels[int(wrong.argmax())]} ({wrong.max()})" if wrong.any() else ""
        lines.append(f"{label:{width}}  {count:6}  {recall:6.2f}  {precision:9.2f}  {taken}".rstrip())
    return lines


def _retrieval(found: Retrieval) -> str:
    shares = "   ".join(f"R@{k} {share:.4f}" for k, share in found.recall.items())
    return f"{found.queries} queries: {shares}   mAP@10 {found.map10:.4f}"
