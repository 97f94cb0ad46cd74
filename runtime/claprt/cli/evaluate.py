"""`claprt evaluate`: how good a bundle is on a labelled dataset."""

from __future__ import annotations

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from claprt.bundle.graphs import Precision
from claprt.cli.datasets import DATASETS, add_dataset_options, named_dataset
from claprt.cli.figures import check_files, show_figures, take_seed
from claprt.cli.options import add_model_options, add_sound_options, load_model
from claprt.cli.sounds import file_progress
from claprt.cli.words import add_word_options, given_words
from claprt.errors import OptionError
from claprt.evaluation.comparison import Comparison, compare
from claprt.evaluation.confusion_picture import check_picture, confusion_picture
from claprt.evaluation.dataset import Dataset
from claprt.evaluation.published import PUBLISHED
from claprt.evaluation.retrieval import CONVENTIONS, Retrieval
from claprt.evaluation.zero_shot import DEFAULT_TEMPLATE, Evaluation, ZeroShot, evaluate
from claprt.system.terminal import note, printable, report_written

_EPILOG = f"""\
{DATASETS}
examples:
  claprt evaluate --dataset ESC-50 --bundle music_audioset_epoch_15_esc_90.14
  claprt evaluate --dataset esc10 --fold 4 --confusion confusion.png -o scores.json
  claprt evaluate --dataset ESC-50 --published laion-esc50 --against-precision int8
  claprt evaluate --dataset sounds --template "{{}}" --template "the sound of {{}}" --ensemble --shots 8
  claprt evaluate --dataset "clotho/*.tar" --caption-column captions
  claprt evaluate --dataset data/test-00000-of-00001.parquet --label-column genre --vectors library
"""


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "evaluate",
        usage="claprt evaluate --dataset PATH [options]",
        help="score a bundle on a labelled dataset",
        description="Zero-shot accuracy on a labelled dataset with its 95 % interval, and retrieval where it has captions.",
        epilog=_EPILOG,
    )
    add_dataset_options(command)
    add_word_options(command, "label", plural_help="classes (those of the dataset)")
    command.add_argument(
        "--template", action="append", metavar="TEXT", help=f"sentence with {{}}; may be repeated ({DEFAULT_TEMPLATE!r})"
    )
    command.add_argument("--ensemble", action="store_true", help="also score the mean of the templates, as CLIP does")
    command.add_argument(
        "--published",
        choices=list(PUBLISHED),
        metavar="NAME",
        help=f"labels and sentence of a published evaluation: {', '.join(PUBLISHED)}",
    )
    command.add_argument(
        "--shots", type=int, metavar="N", help="also train a linear probe on N sounds of each class, ten times (8 is usual)"
    )
    command.add_argument(
        "--against", metavar="MODEL", help="compare with another model on the same sounds (or with --against-precision)"
    )
    command.add_argument("--against-precision", choices=list(map(str, Precision)), help="what the other model computes in")
    command.add_argument(
        "--convention", default="claprt", choices=list(CONVENTIONS),
        help="laion: audio-to-text mAP@10 as LAION's evaluation numbers it (%(default)s)",
    )  # fmt: skip
    command.add_argument("--confusion", type=Path, metavar="FILE", help="write the confusion matrix as a picture (.png)")
    command.add_argument("-o", "--output", type=Path, metavar="FILE", help="write all figures as JSON")
    # with a FILE, as in release 0.1.0, it is -o
    command.add_argument("--json", nargs="?", const="-", metavar="-", help="all figures as JSON on standard output")
    add_sound_options(command)
    add_model_options(command)
    command.set_defaults(run=run, command=command)


def run(options: argparse.Namespace) -> int:
    """Run the command.

    Raises:
        OptionError: If an output cannot be written, or there is no confusion matrix to draw.
    """
    if options.json not in (None, "-"):
        note(options, f"--json FILE is deprecated; write -o {options.json}.")
        options.output, options.json = Path(options.json), None
    check_files(options.confusion, options.output)
    if options.confusion is not None:
        check_picture(options.confusion)
    dataset = named_dataset(options)
    _check(options, dataset)
    seed = 0 if options.shots is None else take_seed(options)  # of the probe
    clap = load_model(options)
    comparing = options.against is not None or options.against_precision is not None
    other = load_model(_other(options), name_small=False, lazy=True) if comparing else None
    asked: dict[str, Any] = {
        "labels": given_words(options), "templates": options.template or [DEFAULT_TEMPLATE], "ensemble": options.ensemble,
        "published": options.published, "shots": options.shots, "seed": seed, "convention": options.convention,
        "progress": partial(file_progress, quiet=options.quiet),
    }  # fmt: skip
    result = evaluate(clap, dataset, **asked)
    if result.trained_on is not None:
        note(options, f"{clap.manifest.name} was trained on {result.trained_on}; figures on these flatter it.")
    if dataset.library is not None and result.from_library < result.sounds:
        left = result.sounds - result.from_library
        note(
            options,
            f"{left} of {result.sounds} sounds were embedded: {dataset.library} does not hold them as they are.",
        )
    figures, text = result.to_dict(), summary(result)
    if other is not None:
        second = evaluate(other, replace(dataset, library=None), **asked)
        compared = [compare(one.right, two.right) for one, two in zip(result.zero_shot, second.zero_shot, strict=True)]
        figures["against"] = {**second.to_dict(), "differences": [one.to_dict() for one in compared]}
        text += f"\n\n{_against(result, second, compared)}"
    show_figures(options, figures, text, as_json=options.json is not None)
    if options.confusion is not None:
        confusion_picture(result.zero_shot[0], options.confusion, f"{clap.manifest.name} on {dataset.name}")
        report_written(options, options.confusion)
    return 0


def _check(options: argparse.Namespace, dataset: Dataset) -> None:
    """Check options that need no model.

    Raises:
        OptionError: If one cannot be.
    """
    if options.published is not None and (given_words(options) or options.template):
        options.command.error("give --published, or labels and templates; both were given")
    if dataset.labels:
        return
    if options.confusion is not None:
        raise OptionError(f"{dataset.name} has captions and no labels, so there is no confusion to draw.")
    if options.against is not None or options.against_precision is not None:
        raise OptionError(f"{dataset.name} has captions and no labels; what is compared are answers about labels.")


def _other(options: argparse.Namespace) -> argparse.Namespace:
    """The options of the model to compare with."""
    changed = {
        "bundle": options.against or options.bundle,
        "precision": options.against_precision or options.precision,
    }
    return argparse.Namespace(**{**vars(options), **changed})


def summary(result: Evaluation) -> str:
    """The figures as tables."""
    lines = [f"{result.sounds} sounds of {result.dataset}", f"fingerprint {result.fingerprint}"]
    if result.from_library:
        lines.append(f"vectors of {result.from_library} sounds taken from the library")
    for scored in result.zero_shot:
        name = f"the {scored.template}" if scored.templates else repr(scored.template)
        lines.append(
            f"\nzero-shot, {name}: top-1 {scored.top1:.4f} ({scored.top1_interval})   "
            f"top-5 {scored.top5:.4f} ({scored.top5_interval})"
        )
    if (probe := result.linear_probe) is not None:
        lines.append(
            f"\nlinear probe, {probe.shots} sounds of each class: {probe.mean:.4f} ± {probe.std:.4f} over "
            f"{len(probe.accuracies)} draws"
        )
    if result.zero_shot:
        lines += ["", *_classes(result.zero_shot[0])]
    for name, found in (("text to audio", result.text_to_audio), ("audio to text", result.audio_to_text)):
        if found is not None:
            lines.append(f"\n{name}, {_retrieval(found)}")
    return "\n".join(lines)


def _against(first: Evaluation, second: Evaluation, compared: list[Comparison]) -> str:
    lines = [f"against {second.fingerprint}"]
    for one, two, found in zip(first.zero_shot, second.zero_shot, compared, strict=True):
        lines.append(
            f"{one.template!r}: top-1 {one.top1:.4f} - {two.top1:.4f} = {found.difference:+.4f} "
            f"({found.interval.low:+.4f} to {found.interval.high:+.4f}), p = {found.p_value:.3g} (McNemar; right on "
            f"{found.only_first} sounds that the other is wrong on, wrong on {found.only_second})"
        )
    return "\n".join(lines)


def _classes(scored: ZeroShot) -> list[str]:
    names = {label: printable(label) for label in scored.labels}
    width = max(5, *map(len, names.values()))
    lines = [f"{'class':{width}}  sounds  recall  precision  mostly taken for"]
    for row, (label, (count, recall, precision)) in enumerate(scored.by_class.items()):
        wrong = scored.confusion[row].copy()
        wrong[row] = 0
        taken = f"{names[scored.labels[int(wrong.argmax())]]} ({wrong.max()})" if wrong.any() else ""
        lines.append(f"{names[label]:{width}}  {count:6}  {recall:6.2f}  {precision:9.2f}  {taken}".rstrip())
    return lines


def _retrieval(found: Retrieval) -> str:
    named = "" if found.convention == "claprt" else f" ({found.convention}'s convention)"
    shares = "   ".join(f"R@{k} {share:.4f}" for k, share in found.recall.items())
    return f"{found.queries} queries: {shares}   mAP@10 {found.map10:.4f}{named}"
