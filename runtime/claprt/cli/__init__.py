"""The `claprt` command: parse, call, print. Each subcommand is one module of this package."""

from __future__ import annotations

import argparse
import io
import os
import sys
from collections.abc import Sequence

from claprt.cli import calibrate, classify, embed, evaluate, inspect, latency, serve, similarity, tag, triton
from claprt.errors import ClaprtError

_EPILOG = """\
A bundle is the folder that claprt-export writes. Commands that need one take --bundle FOLDER, or the folder that the
environment variable CLAPRT_BUNDLE names, or else the small model that ships with claprt.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command; the exit status is 0, 1 for an error or a missed target, 2 for wrong usage."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal cannot show is no reason to fail
    options = parser().parse_args(arguments)
    try:
        status = int(options.run(options))
        sys.stdout.flush()
    except ClaprtError as error:
        print(f"claprt: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("claprt: interrupted", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader of our output has gone, as `| head` does
        _discard_output()
        return 141
    except OSError as error:
        print(f"claprt: the output cannot be written: {error.strerror or error}", file=sys.stderr)
        _discard_output()
        return 1
    return status


def _discard_output() -> None:
    """Lets Python's last flush of standard output succeed."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def parser() -> argparse.ArgumentParser:
    """The command line of `claprt`."""
    from claprt import __version__

    command = argparse.ArgumentParser(
        prog="claprt",
        description="CLAP embeddings without PyTorch: sounds and texts as unit vectors of one space.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("--version", action="version", version=f"claprt {__version__}")
    commands = command.add_subparsers(metavar="COMMAND", required=True)
    for module in (embed, classify, tag, similarity, serve, evaluate, calibrate, inspect, latency, triton):
        module.add(commands)
    return command
