"""`claprt serve`: the WebSocket and HTTP service, with kromosynth's flags and environment beside our own."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import TYPE_CHECKING, Any, TypeVar

from claprt.bundle.address import is_address
from claprt.bundle.folder import BUNDLE_VARIABLE
from claprt.bundle.graphs import Stage
from claprt.cli.options import add_model_options, add_sound_options, load_model
from claprt.cli.serve_environment import PORT, TOKEN_VARIABLE, name_process, port_of, token_of
from claprt.compat.kromosynth import CHECKPOINT_VARIABLE, DEVICE_VARIABLE, provider_of
from claprt.engines.hardware import share_heap
from claprt.errors import FingerprintError, MissingDependencyError, OptionError
from claprt.model.clap import Clap
from claprt.system.extras import install_hint

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from claprt.library.library import Library
    from claprt.serve.library.adapter import ServedLibrary
    from claprt.serve.scheduling.service import Service

T = TypeVar("T")

_PREPROCESS = "kromosynth"
_OF_LIBRARY = ("bundle", "preprocess", "precision", "long", "seed")
"""Options that a library states."""
_EPILOG = f"""\
ws://HOST:PORT/clap has kromosynth's protocol; http://HOST:PORT/docs describes the HTTP API. With --library,
http://HOST:PORT/library is a page to search it.

environment, where no flag is given:
  PORT, PROCESS_TITLE, {CHECKPOINT_VARIABLE} (as --bundle), {DEVICE_VARIABLE} (as --device), {TOKEN_VARIABLE}
"""


def add(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser(
        "serve",
        usage="claprt serve [options]",
        help="serve embeddings over WebSocket and HTTP",
        description="Serves one model to any number of connections, which are merged into batches.",
        epilog=_EPILOG,
    )
    _add_service(command.add_argument_group("service"))
    _add_bounds(command.add_argument_group("bounds"))
    add_sound_options(command, preprocess=None, stated=f"{_PREPROCESS}, or with --library the library's own")
    add_model_options(command)
    same = command.add_argument_group("aliases")
    same.add_argument("--checkpoint-path", dest="bundle", metavar="MODEL", help="kromosynth's name for --bundle")
    same.add_argument("--engine", dest="bundle", metavar="URL", help="--bundle with a Triton server's address")
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
        "--projection", metavar="FOLDER", help="bundle whose projection /clap-bd and /project use (the model's own)"
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
        from claprt.serve.app import create_app
        from claprt.serve.limits import Limits
        from claprt.serve.server.run import (
            Bounds,
            Stopped,
            is_private,
            listen,
            reject_waiting,
            serve,
            stopped_by_signals,
            urls,
        )
        from claprt.serve.websocket.kromosynth import check_default_rate
    except ImportError as error:
        raise MissingDependencyError(f"{error.name} is not installed: {install_hint('serve')}.") from error
    limits = Limits(message_bytes=options.max_message_mb << 20, windows=options.max_windows, waiting=options.max_waiting)
    bounds = Bounds(connections=options.max_connections, timeout_s=options.timeout_s)
    check_default_rate(options.sample_rate)
    token = token_of(options.token_file)
    if options.idle_unload is not None:
        share_heap()  # before there are threads
    library = _library(options)
    sockets = listen(options.host, port_of(options.port))
    with contextlib.ExitStack() as stack:
        for one in sockets:
            stack.callback(one.close)
        stack.enter_context(stopped_by_signals())
        stack.push(lambda kind, *_: kind is not None and issubclass(kind, Stopped) and not reject_waiting(sockets))
        if token is None and not is_private(sockets):
            warning = (
                f"warning: whoever can reach {options.host} can use this service; set {TOKEN_VARIABLE} or --token-file."
            )
            print(warning, file=sys.stderr)
        name_process(options.process_title)

        def made() -> tuple[Clap, Starlette]:
            served = None if library is None else _served(library)
            clap = _loaded(options, library)
            app = create_app(
                clap,
                limits=limits,
                sample_rate=options.sample_rate,
                token=token,
                cors=options.cors,
                library=served,
                allow_audio=options.allow_audio,
                only=options.only,
                idle_unload_s=options.idle_unload,
            )
            app.state.service.batcher.prepare()
            return clap, app

        try:
            clap, app = _beside(made)
        except Stopped:  # the thread that loads cannot be stopped, but it has not begun to answer anybody
            reject_waiting(sockets)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
        serve(
            app,
            sockets,
            limits=limits,
            bounds=bounds,
            ready=lambda: _say(_line(clap, urls(sockets), options.library)),
            drain=lambda seconds: _drain(app.state.service, seconds),
            access_log=options.access_log,
        )
    return 0


def _beside(work: Callable[[], T]) -> T:
    """The result of work in another thread, so that this one hears signals meanwhile."""
    result: Future[T] = Future()

    def run() -> None:
        try:
            result.set_result(work())
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            result.set_exception(error)

    threading.Thread(target=run, name="claprt-load", daemon=True).start()
    return result.result()


async def _drain(service: Service, seconds: float) -> None:
    """Answers what was accepted, or says how much was not."""
    if late := await service.drain(timeout_s=seconds):
        print(f"warning: {late} requests were not answered within {seconds:g} s.", file=sys.stderr)


def _say(line: str) -> None:
    """Print a line; a full or closed standard output does not end the service."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def _line(clap: Clap, addresses: list[str], library: str | None) -> str:
    """What is served, in one line."""
    where = ", ".join(f"{url}/" for url in addresses)
    socket = addresses[0].replace("http://", "ws://", 1)
    what = f"{clap.manifest.name} on {clap.provider} in {clap.precision}"
    if library is not None:
        what += f" and the library {library}"
    return f"serving {what} at {where} and {socket}/clap, fingerprint {clap.fingerprint}"


def _library(options: argparse.Namespace) -> Library | None:
    """The library that was named. What was not said of the model is taken from it.

    Raises:
        OptionError: If its sounds are to be played, and none was named.
        LibraryError: If there is none at the path, or it cannot be read.
    """
    if options.library is None:
        if options.allow_audio:
            raise OptionError("--allow-audio is about the sounds of a library; name one (--library LIBRARY).")
        options.preprocess = options.preprocess or _PREPROCESS
        return None
    from claprt.library.library import open_library

    library = open_library(options.library, threads=options.threads)
    made_by = library.manifest.model
    stated = {"hop": made_by.hop_s, **{name: getattr(made_by, name) for name in _OF_LIBRARY}}
    for name, value in stated.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return library


def _served(library: Library) -> ServedLibrary:
    """The library for the service, prepared."""
    from claprt.serve.library.adapter import ServedLibrary

    served = ServedLibrary(library)
    served.prepare()
    return served


def _loaded(options: argparse.Namespace, library: Library | None) -> Clap:
    """The model, named in our words or in kromosynth's, or the library's.

    Raises:
        OptionError: If `--device` and `--provider` name different providers.
        FingerprintError: If the library's vectors are of another model, or were made with other options.
    """
    options.bundle = options.bundle or os.environ.get(CHECKPOINT_VARIABLE) or None
    if options.device is not None and options.provider not in ("auto", options.device):
        raise OptionError(f"--device {options.device} and --provider {options.provider} exclude each other.")
    served = is_address(options.bundle or os.environ.get(BUNDLE_VARIABLE))
    if options.device is not None or options.provider == "auto":
        options.provider = options.device or provider_of(None if served else os.environ.get(DEVICE_VARIABLE))
    clap = load_model(options, lazy=options.only == Stage.TEXT)
    if library is not None and clap.fingerprint != library.fingerprint:
        raise FingerprintError(
            f"The library {options.library} has vectors of {library.fingerprint}, and the model that was asked for gives "
            f"those of {clap.fingerprint}, which cannot be compared. Without --bundle, --preprocess, --precision, --long, "
            "--hop and --seed, the library's own model is served as it was when it was indexed."
        )
    return clap
