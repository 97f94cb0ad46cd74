"""Datasets on the command line: where they are, which columns say what, and the vectors of a library."""

from __future__ import annotations

import argparse
from pathlib import Path

from claprt.evaluation.dataset import Dataset
from claprt.evaluation.reading.columns import LABELS, Columns
from claprt.evaluation.reading.read import read_dataset

DATASETS = """\
datasets:
  a CSV file with a header: file, label and/or caption…, fold
  a folder with labels.csv, with ESC-50's meta/esc50.csv, or with one folder of sounds for each class
  a Parquet or Arrow file, as Hugging Face has it; a tar archive, as webdataset has it; a pattern or folder of such
  a library that `claprt index` made: the folder of a sound is its class
"""
"""Part of a command's epilog."""


def add_dataset_options(command: argparse.ArgumentParser) -> None:
    """Add `--dataset`, its columns, folds and library."""
    command.add_argument("--dataset", required=True, metavar="PATH", help="the dataset")
    command.add_argument("--label-column", metavar="NAME", help=f"column of the classes (the first of {', '.join(LABELS)})")
    command.add_argument(
        "--caption-column", action="append", default=[], metavar="NAME",
        help="column of captions; may be repeated (those that begin with caption; without them and classes, text)",
    )  # fmt: skip
    command.add_argument("--fold", action="append", default=[], metavar="N", help="only this fold; may be repeated")
    command.add_argument(
        "--vectors", type=Path, metavar="LIBRARY", help="take the vectors of sounds that this library holds from there"
    )


def named_dataset(options: argparse.Namespace) -> Dataset:
    """The dataset that the options name.

    Raises:
        DatasetError: if it cannot be read.
    """
    columns = Columns(label=options.label_column, captions=tuple(options.caption_column))
    return read_dataset(options.dataset, folds=options.fold, columns=columns, library=options.vectors)
