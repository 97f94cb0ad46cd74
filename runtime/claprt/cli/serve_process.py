"""What `claprt serve` does once its port is open: load the model and the library, answer until it is told to end."""

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

from claprt.bundle.address import is_address
from claprt.bundle.folder import BUNDLE_VARIABLE
from claprt.bundle.graphs import Stage
from claprt.cli.options import load_model
from claprt.cli.serve_environment import name_process, token_of
from claprt.compat.kromosynth import CHECKPOINT_VARIABLE, DEVICE_VARIABLE, provider_of
from claprt.engines.hardware import share_heap
from claprt.errors import ClaprtError, FingerprintError, OptionError
from claprt.model.clap import Clap
from claprt.system.terminal import printable, say

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from claprt.library.library import Library
    from claprt.serve.library.adapter import ServedLibrary
    from claprt.serve.limits import Limits
    from claprt.serve.scheduling.service import Service
    from claprt.serve.server.run import Bounds
    from claprt.serve.server.workers import Worker

T = TypeVar("T")

PREPROCESS = "kromosynth"
"""Preprocessing where neither an option nor a library says which."""
_OF_LIBRARY = ("bundle", "preprocess", "precision", "long", "seed")
"""Options that a library states."""


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
        answer(options, list(worker.sockets), library_of(options), ready=worker.serves, worker=worker)
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
    """Load the model and serve it until a signal ends that.

    Args:
        options: Of the command.
        sockets: Listening sockets.
        library: The library to search, if there is one.
        ready: Called with a line that says what is served, once it is.
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

        def made() -> tuple[Clap, Starlette]:
            served = None if library is None else _served(library)
            clap = _loaded(options, library)
            app = create_app(
                clap,
                limits=limits,
                sample_rate=options.sample_rate,
                token=token_of(options.token_file),
                cors=options.cors,
                library=served,
                allow_audio=options.allow_audio,
                only=options.only,
                idle_unload_s=options.idle_unload,
            )
            app.state.service.shared.worker = None if worker is None else (worker.number, worker.of)
            app.state.service.batcher.prepare()
            return clap, app

        try:
            clap, app = _beside(made)
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
            ready=lambda: ready(_line(clap, urls(sockets), options.library)),
            drain=lambda seconds: _drain(app.state.service, seconds),
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


async def _drain(service: Service, seconds: float) -> None:
    """Answers what was accepted, or says how much was not."""
    if late := await service.drain(timeout_s=seconds):
        print(f"warning: {late} requests were not answered within {seconds:g} s.", file=sys.stderr)


def say_first(line: str) -> None:
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


def library_of(options: argparse.Namespace) -> Library | None:
    """The library that was named. What was not said of the model is taken from it.

    Raises:
        OptionError: If its sounds are to be played, and none was named.
        LibraryError: If there is none at the path, or it cannot be read.
    """
    if options.library is None:
        if options.allow_audio:
            raise OptionError("--allow-audio is about the sounds of a library; name one (--library LIBRARY).")
        options.preprocess = options.preprocess or PREPROCESS
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
