"""`claprt-export tensorrt`, and the options of an export that build engines as well: what they take, and what they say."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from claprt.bundle.engine_forms import EngineInfo
from claprt.bundle.graphs import Precision, Stage
from claprt.errors import OptionError

if TYPE_CHECKING:
    from claprt.bundle.manifest import Manifest

Report = Callable[[str], None]
COMMANDS = "  tensorrt --bundle FOLDER --cards sm86,sm89      puts TensorRT-RTX engines into a bundle"
"""For the help of `claprt-export`."""
TARGETS = ("rtx",)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="claprt-export tensorrt",
        usage="claprt-export tensorrt --bundle FOLDER --cards CARDS [options]",
        description="Builds TensorRT-RTX engines of a bundle's graphs and puts them into it. No GPU is needed: engines are "
        "built ahead of time for the cards that are named, all of them in one file.",
    )
    parser.add_argument("--bundle", type=Path, required=True, metavar="FOLDER", help="the bundle to put them into")
    parser.add_argument(
        "--cards", type=_words, required=True, metavar="sm86[,sm89,…]",
        help="compute capabilities of the GPUs: sm86 is an RTX 30, sm89 an RTX 40, sm120 an RTX 50",
    )  # fmt: skip
    parser.add_argument(
        "--precision", type=_precisions, metavar="fp32[,fp16,int8-symmetric]",
        help="precisions of the towers (those of these that the bundle has)",
    )  # fmt: skip
    parser.add_argument("--max-batch", type=int, metavar="N", help="largest batch (64; texts 256)")
    parser.add_argument("--force", action="store_true", help="replace engines that the bundle has")
    parser.set_defaults(run=_put)
    return parser


PARSERS = {"tensorrt": _parser}
"""By the word that follows `claprt-export`."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of an export that build engines of what it has exported."""
    parser.add_argument(
        "--tensorrt", choices=TARGETS, metavar="rtx", help="build TensorRT-RTX engines too, for --cards; no GPU is needed"
    )
    parser.add_argument("--cards", type=_words, metavar="sm86[,sm89,…]", help="the GPUs that engines are built for")


def check_options(options: argparse.Namespace) -> None:
    """Check what was asked of engines before an export, which takes minutes.

    Raises:
        OptionError: If one of `--tensorrt` and `--cards` was given without the other, or a card is not known.
        MissingDependencyError: If TensorRT-RTX is not installed.
    """
    if options.tensorrt is None and options.cards is not None:
        raise OptionError(
            f"--cards {','.join(options.cards)} names the GPUs of engines, and none are built without --tensorrt rtx."
        )
    if options.tensorrt is not None:
        from claprt_export.graphs.tensorrt_rtx import check_cards

        check_cards(options.cards or ())


def engines_of(out: Path, manifest: Manifest, cards: Sequence[str], report: Report) -> Iterator[str]:
    """Build the engines of a bundle that was just exported, and describe them.

    Args:
        out: folder of the bundle.
        manifest: of the bundle.
        cards: that engines are built for.
        report: is told what is being done.
    """
    from claprt_export.graphs.tensorrt_rtx import put_engines

    if Precision.INT8 in manifest.graphs[Stage.AUDIO] and Precision.INT8_SYMMETRIC not in manifest.graphs[Stage.AUDIO]:
        report("no engine in int8: its graphs have zero points, which TensorRT does not take; add int8-symmetric for one")
    yield from _about(put_engines(out, cards, force=True, report=report))


def _put(options: argparse.Namespace, report: Report) -> Iterator[str]:
    from claprt_export.graphs.tensorrt_rtx import put_engines

    engines = put_engines(
        options.bundle,
        options.cards,
        precisions=options.precision,
        max_batch=options.max_batch,
        force=options.force,
        report=report,
    )
    yield f"{options.bundle}: {len(engines)} engines"
    yield from _about(engines)


def _about(engines: Sequence[EngineInfo]) -> Iterator[str]:
    for engine in engines:
        yield f"  {engine.bytes / 1e6:7.1f} MB  {engine.summary}"


def _words(value: str) -> tuple[str, ...]:
    return tuple(value.split(","))


def _precisions(value: str) -> tuple[Precision, ...]:
    try:
        return tuple(map(Precision, value.split(",")))
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; known are {', '.join(Precision)}") from error
