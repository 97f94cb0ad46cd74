"""What `claprt serve` does once its port is open: load the models and the library, answer until it is told to end."""

from __future__ import annotations

import argparse
import contextlib
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future
from socket import socket
from typing import TYPE_CHECKING, TypeVar

from claprt.cli.serve_environment import name_process, token_of
from claprt.cli.serve_models import load_models, take_from_library
from claprt.engines.hardware import share_heap
from claprt.errors import ClaprtError
from claprt.system.terminal import printable, say

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from claprt.library.library import Library
    from claprt.serve.library.adapter import ServedLibrary
    from claprt.serve.limits import Limits
    from claprt.serve.scheduling.models import Models
    from claprt.serve.scheduling.shared import Shared
    from claprt.serve.server.run import Bounds
    from claprt.serve.server.workers import Worker

T = TypeVar("T")


def bounds_of(options: argparse.Namespace) -> tuple[Limits, Bounds]:
    """Limits of the application and of the server."""
    from claprt.serve.limits import Limits
    from claprt.serve.server.run import Bounds

    limits = Limits(message_bytes=options.max_message_mb << 20, windows=options.max_windows, waiting=options.max_waiting)
    return limits, Bounds(connections=options.max_connections, timeout_s=options.timeout_s)


def work(options: argparse.Namespace, worker: Worker) -> None:
    """Serve in a worker process."""
    if options.idle_unload is not None:
        share_heap()
    name_process(options.process_title)
    try:
        answer(options, list(worker.sockets), take_from_library(options), ready=worker.serves, worker=worker)
    except ClaprtError as error:
        say(f"claprt: {printable(str(error))}")
        sys.exit(1)


def answer(
    options: argparse.Namespace,
    sockets: list[socket],
    library: Library | None,
    *,
    ready: Callable[[str], None],
    worker: Worker | None = None,
) -> None:
    """Load the models and serve them until a signal ends that.

    Args:
        options: Of the command.
        sockets: Listening sockets.
        library: The library to search, if there is one.
        ready: Called with what is served, a line for each model, once it is.
        worker: Which worker process this is, if there are several.
    """
    from claprt.serve.app import create_app
    from claprt.serve.server.run import reject_waiting, serve, urls
    from claprt.serve.server.signals import Stopped, stopped_by_signals

    limits, bounds = bounds_of(options)

    def stopped(kind: type[BaseException] | None, *_: object) -> bool:
        """Whether a signal was the end, which is no error; clients that wait are told, unless other workers answer them."""
        if kind is None or not issubclass(kind, Stopped):
            return False
        if worker is None:
            reject_waiting(sockets)
        return True

    with contextlib.ExitStack() as stack:
        stack.enter_context(stopped_by_signals())
        stack.push(stopped)

        def made() -> Starlette:
            served = None if library is None else _served(library)
            app = create_app(
                load_models(options, library),
                limits=limits,
                sample_rate=options.sample_rate,
                token=token_of(options.token_file),
                cors=options.cors,
                library=served,
                allow_audio=options.allow_audio,
                only=options.only,
                idle_unload_s=options.idle_unload,
            )
            models: Models = app.state.models
            models.shared.worker = None if worker is None else (worker.number, worker.of)
            models.prepare()
            return app

        try:
            app = _beside(made)
        except Stopped:  # the thread that loads cannot be stopped, but it has not begun to answer anybody
            if worker is None:
                reject_waiting(sockets)
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(0)
        serve(
            app,
            sockets,
            limits=limits,
            bounds=bounds,
            ready=lambda: ready(_lines(app.state.models, urls(sockets), options.library)),
            drain=lambda seconds: _drain(app.state.models.shared, seconds),
            access_log=options.access_log,
            worker=None if worker is None else worker.number,
        )


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


async def _drain(shared: Shared, seconds: float) -> None:
    """Answer what was accepted, or say how much was not."""
    if late := await shared.drain(timeout_s=seconds):
        print(f"warning: {late} requests were not answered within {seconds:g} s.", file=sys.stderr)


def say_first(line: str) -> None:
    """Print a line; a full or closed standard output does not end the service."""
    with contextlib.suppress(OSError):
        print(line, flush=True)


def _lines(models: Models, addresses: list[str], library: str | None) -> str:
    """What is served, in one line for each model; the default one is at the root."""
    lines = list[str]()
    for name, service in models.services.items():
        clap = service.clap
        prefix = "" if service is models.default else models.only(name).prefix
        where = ", ".join(f"{url}{prefix}/" for url in addresses)
        socket = addresses[0].replace("http://", "ws://", 1) + prefix
        what = f"{name} ({clap.manifest.name})" if models.are_named else name
        what += f" on {clap.provider} in {clap.precision}"
        if library is not None and service is models.default:
            what += f" and the library {library}"
        lines.append(f"serving {what} at {where} and {socket}/clap, fingerprint {clap.fingerprint}")
    return "\n".join(lines)


def _served(library: Library) -> ServedLibrary:
    """The library for the service, prepared."""
    from claprt.serve.library.adapter import ServedLibrary

    served = ServedLibrary(library)
    served.prepare()
    return served
