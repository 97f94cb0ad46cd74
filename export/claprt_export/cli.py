"""`claprt-export`: parse, call, print."""

from __future__ import annotations

import argparse
import gc
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from claprt import __version__
from claprt.bundle.graphs import Precision
from claprt.bundle.manifest import Manifest
from claprt.errors import ClaprtError
from claprt.system.extras import install_hint
from claprt.system.terminal import printable
from claprt_export.checkpoints.variants import VARIANTS
from claprt_export.graphs import tensorrt_cli
from claprt_export.projection import cli as projection_cli
from claprt_export.projection.cli import Report

PARSERS = {**projection_cli.PARSERS, **tensorrt_cli.PARSERS}
"""Parsers of the commands, by the word that follows `claprt-export`."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; the exit status is 0, or 1 where nothing was written."""
    gc.set_threshold(50_000)  # tracing makes millions of objects, few of them garbage: a twelfth of an export's time
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = PARSERS.get(given[0]) if given else None
    options = command().parse_args(given[1:]) if command is not None else _parser().parse_args(given)
    started = time.monotonic()

    def report(line: str) -> None:
        print(f"[{time.monotonic() - started:5.1f} s] {printable(line)}", file=sys.stderr, flush=True)

    for name in ("SIGTERM", "SIGHUP"):
        number = getattr(signal, name, None)
        if number is not None and signal.getsignal(number) != signal.SIG_IGN:  # nohup has SIGHUP ignored
            signal.signal(number, _interrupt)
    if getattr(options, "end_with_stdin", False):
        threading.Thread(target=_end_with_stdin, daemon=True).start()
    try:
        lines = list(options.run(options, report))
    except ClaprtError as error:
        print(f"claprt-export: {printable(str(error))}", file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        print(f"claprt-export: {error.name} is not installed; exporting needs the export extra: "
              f"{install_hint('cpu', 'export')}", file=sys.stderr)  # fmt: skip
        return 1
    except KeyboardInterrupt:
        print("claprt-export: interrupted; nothing was written.", file=sys.stderr)
        return 130
    report("done")
    print("\n".join(lines))
    return 0


def _export(options: argparse.Namespace, report: Report) -> Iterator[str]:
    from claprt.evaluation.reading.read import read_dataset
    from claprt_export.pipeline import export_bundle

    tensorrt_cli.check_options(options)
    manifest = export_bundle(
        options.out,
        name=options.variant,
        checkpoint=options.checkpoint,
        tokenizer=options.tokenizer,
        precisions=options.precision,
        calibration=read_dataset(options.calibrate_on) if options.calibrate_on else None,
        judged_on=read_dataset(options.judge_on) if options.judge_on else None,
        force=options.force,
        force_precision=options.force_precision,
        report=report,
    )
    yield from _result(options.out, manifest)
    if options.tensorrt is not None:
        yield from tensorrt_cli.engines_of(options.out, manifest, options.cards, report)


def _interrupt(*_: object) -> None:
    """End an export that is told to stop as Ctrl-C does, so that what it has begun is cleared away.

    Raises:
        KeyboardInterrupt: Always.
    """
    raise KeyboardInterrupt


def _end_with_stdin() -> None:
    """Stop the export when standard input ends, as it does when the process that started this one has ended."""
    while os.read(0, 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


def _result(out: Path, manifest: Manifest) -> Iterator[str]:
    yield f"{out}: {manifest.name}, {manifest.audio.architecture}, {manifest.text.architecture}"
    for row in manifest.parity:
        cosine = "" if row.min_cosine is None else f", minimum cosine {row.min_cosine:.9f}"
        yield f"  {row.graph} {row.precision} against {row.against}: maximum difference {row.max_abs:.2g}{cosine}"
    for row in (*manifest.quality, *manifest.single):
        yield f"  {row.summary}"
    if not manifest.source.trained:
        yield "  untrained weights: vectors cost what a checkpoint's do and mean nothing"


def _precisions(value: str) -> list[Precision]:
    try:
        return [Precision(word) for word in value.split(",")]
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{error}; known are {', '.join(Precision)}") from error


def parsers() -> list[argparse.ArgumentParser]:
    """The command line of `claprt-export`, and of each of its commands."""
    return [_parser(), *(make() for make in PARSERS.values())]


def _parser() -> argparse.ArgumentParser:
    rows = "\n".join(f"  {row.name:45} {row.about}" for row in VARIANTS.values())
    parser = argparse.ArgumentParser(
        prog="claprt-export",
        usage="claprt-export [VARIANT] [--checkpoint PATH] --out BUNDLE_DIR [options]",
        description="Exports a LAION-CLAP checkpoint to a verified bundle of ONNX graphs.",
        epilog=f"variants:\n{rows}\n\nWhat is not at hand is fetched from the Hugging Face hub, once.\n\n"
        f"{projection_cli.COMMANDS}\n{tensorrt_cli.COMMANDS}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = f"claprt-export {__version__}"
    parser.add_argument("-V", "--version", action="version", version=version, help="print the version")
    parser.add_argument(
        "variant", nargs="?", metavar="VARIANT", help="a published checkpoint, also by its hub name, or untrained weights"
    )
    parser.add_argument(
        "--checkpoint",
        type=Path,
        metavar="PATH",
        help="a .pt file or a transformers folder (or set CLAP_CHECKPOINT_PATH)",
    )
    parser.add_argument(
        "--tokenizer", type=Path, metavar="PATH",
        help="a tokenizer.json or a folder with one; by default the checkpoint folder's, then what CLAPRT_TOKENIZER names, "
        "then roberta-base from the hub",
    )  # fmt: skip
    parser.add_argument(
        "--precision", type=_precisions, default=[Precision.FP32], metavar="fp32[,int8,bf16,fp16,int8-symmetric]",
        help="precisions to have (fp32, which is always there): int8 and bf16 for CPUs, fp16 for GPUs, int8-symmetric for "
        "TensorRT",
    )  # fmt: skip
    parser.add_argument(
        "--judge-on", metavar="FOLDER|CSV", help="labelled sounds for the quality gate of precisions (synthesised ones)"
    )
    parser.add_argument(
        "--calibrate-on", metavar="FOLDER|CSV", help="sounds to take the ranges of int8 from, beside synthesised ones"
    )
    parser.add_argument(
        "--force-precision", action="store_true", help="keep and mark a precision that the quality gate refuses"
    )
    tensorrt_cli.add_options(parser)
    parser.add_argument("--out", type=Path, required=True, metavar="BUNDLE_DIR", help="folder to write the bundle to")
    parser.add_argument("--force", action="store_true", help="replace a bundle that is already there")
    parser.add_argument("--end-with-stdin", action="store_true", help=argparse.SUPPRESS)
    parser.set_defaults(run=_export)
    return parser


if __name__ == "__main__":
    sys.exit(main())
