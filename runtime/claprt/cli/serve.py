"""`claprt serve`: the WebSocket and HTTP service, with kromosynth's flags and environment beside our own."""

from __future__ import annotations

import argparse
import contextlib
import sys
from functools import partial
from typing import Any

from claprt.cli.options import add_model_options, add_sound_options
from claprt.cli.serve_environment import PORT, TOKEN_VARIABLE, name_process, port_of, token_of
from claprt.cli.serve_models import PREPROCESS, stated_models, take_from_library
from claprt.cli.serve_process import answer, bounds_of, say_first, work
from claprt.compat.kromosynth import CHECKPOINT_VARIABLE, DEVICE_VARIABLE
from claprt.engines.hardware import default_threads, share_heap
from claprt.errors import MissingDependencyError
from claprt.system.extras import install_hint

_LAST_S = 20.0
"""Seconds that worker processes have beyond their own shutdown before they are killed."""
_EPILOG = f"""\
ws://HOST:PORT/clap has kromosynth's protocol; http://HOST:PORT/docs describes the HTTP API. With --library,
http://HOST:PORT/library is a page to search it. With several models, each is under /models/NAME too, and a
field "model" of requests names one.

environment, where no flag is given:
  PORT, PROCESS_TITLE, {CHECKPOINT_VARIABLE} (as --bundle), {DEVICE_VARIABLE} (as --device), {TOKEN_VARIABLE}
"""


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "serve",
        usage="claprt serve [options]",
        help="serve embeddings over WebSocket and HTTP",
        description="Serves a model, or several, to any number of connections, which are merged into batches.",
        epilog=_EPILOG,
    )
    _add_service(command.add_argument_group("service"))
    _add_bounds(command.add_argument_group("bounds"))
    add_sound_options(command, preprocess=None, stated=f"{PREPROCESS}, or with --library the library's own")
    add_model_options(command, several=True)
    same = command.add_argument_group("aliases")
    same.add_argument(
        "--checkpoint-path", action="append", dest="bundle", metavar="MODEL", help="kromosynth's name for --bundle"
    )
    same.add_argument(
        "--engine", action="append", dest="bundle", metavar="URL", help="--bundle with a Triton server's address"
    )
    same.add_argument("--device", choices=["cuda", "cpu"], help="kromosynth's name for --provider")
    command.set_defaults(run=run)


def _add_service(service: Any) -> None:
    service.add_argument(
        "--host", default="127.0.0.1", help="address to listen on (%(default)s, which is this machine alone)"
    )
    service.add_argument("--port", type=int, help=f"port; 0 for any that is free (PORT, else {PORT})")
    service.add_argument(
        "--sample-rate", type=int, default=16_000, metavar="HZ", help="sample rate of binary messages (%(default)s)"
    )
    service.add_argument(
        "--projection",
        action="append",
        metavar="FOLDER",
        help="bundle whose projection /clap-bd and /project use (the model's own); NAME=FOLDER where models have names",
    )
    service.add_argument(
        "--token-file", metavar="FILE", help=f"file with the bearer token that clients must send ({TOKEN_VARIABLE})"
    )
    service.add_argument(
        "--cors",
        action="append",
        default=[],
        metavar="ORIGIN",
        help="origin whose pages may use the service; may be repeated",
    )
    service.add_argument(
        "--library", metavar="LIBRARY", help="library to search, as claprt index made it; its model is served by default"
    )
    service.add_argument("--allow-audio", action="store_true", help="let clients play the sounds of the library")
    service.add_argument(
        "--workers",
        type=int,
        default=1,
        metavar="N",
        help="processes behind the port, which share the threads (%(default)s)",
    )
    service.add_argument(
        "--only", choices=["text", "audio"], help="load and serve one tower, in less memory; the other's requests get 404"
    )
    service.add_argument(
        "--idle-unload",
        type=float,
        metavar="SECONDS",
        help="unload the towers after so long without a request; the next one loads them again",
    )
    service.add_argument("--access-log", action="store_true", help="write a line for each request to standard error")
    service.add_argument("--process-title", metavar="NAME", help="shown by ps, where setproctitle is installed")


def _add_bounds(bounds: Any) -> None:
    bounds.add_argument("--max-message-mb", type=int, default=64, metavar="MB", help="largest message (%(default)s)")
    bounds.add_argument(
        "--max-windows", type=int, default=60, metavar="N", help="windows of 10 s in one sound (%(default)s)"
    )
    bounds.add_argument("--max-waiting", type=int, default=256, metavar="N", help="requests that may wait (%(default)s)")
    bounds.add_argument(
        "--max-connections", type=int, default=256, metavar="N", help="connections at one time (%(default)s)"
    )
    bounds.add_argument(
        "--timeout-s",
        type=float,
        default=60,
        metavar="SECONDS",
        help="for a request to arrive, an answer to be read (%(default)s)",
    )


def run(options: argparse.Namespace) -> int:
    """Run the command until it is told to end.

    Raises:
        MissingDependencyError: If the extra `serve` is not installed.
    """
    try:
        from claprt.serve.server.run import is_private, listen
        from claprt.serve.server.workers import Supervisor, check_workers
        from claprt.serve.websocket.kromosynth import check_default_rate
    except ImportError as error:
        raise MissingDependencyError(f"{error.name} is not installed: {install_hint('serve')}.") from error
    _, bounds = bounds_of(options)
    check_default_rate(options.sample_rate)
    check_workers(options.workers)
    stated_models(options)
    token = token_of(options.token_file)
    if options.idle_unload is not None:
        share_heap()  # before there are threads
    library = take_from_library(options) if options.workers == 1 else None
    sockets = listen(options.host, port_of(options.port))
    with contextlib.ExitStack() as stack:
        for one in sockets:
            stack.callback(one.close)
        if token is None and not is_private(sockets):
            warning = (
                f"warning: whoever can reach {options.host} can use this service; set {TOKEN_VARIABLE} or --token-file."
            )
            print(warning, file=sys.stderr)
        name_process(options.process_title)
        if options.workers > 1:
            given = argparse.Namespace(**{name: value for name, value in vars(options).items() if name != "run"})
            given.threads = max(1, (options.threads or default_threads()) // options.workers)
            target = partial(work, given)
            return Supervisor(options.workers, sockets, target, shutdown_s=bounds.shutdown_s + _LAST_S).run(say_first)
        answer(options, sockets, library, ready=say_first)
    return 0
