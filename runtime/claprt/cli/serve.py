"""`claprt serve`: the WebSocket and HTTP service."""

from __future__ import annotations

import argparse
import os
from typing import Any

from claprt.cli.options import add_model_options, add_sound_options, load_model
from claprt.errors import MissingDependencyError, OptionError

_EPILOG = """\
ws://HOST:PORT/clap speaks kromosynth's protocol; http://HOST:PORT/docs shows the rest. PORT, CLAP_CHECKPOINT_PATH (a
bundle) and CLAPRT_TOKEN are read from the environment as well.
"""


def add(commands: Any) -> None:
    """Adds the command."""
    command = commands.add_parser(
        "serve",
        help="serve embeddings over WebSocket and HTTP",
        description="Serves one model to any number of connections, which are merged into batches.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    service = command.add_argument_group("service")
    service.add_argument("--host", default="127.0.0.1", help="address to listen on (127.0.0.1: this machine alone)")
    service.add_argument("--port", type=int, help="port (PORT, else 32051)")
    service.add_argument("--sample-rate", type=int, default=16_000, metavar="HZ", help="of binary frames (16000)")
    service.add_argument("--max-message-mb", type=int, default=64, metavar="MB", help="largest message (64)")
    service.add_argument("--max-windows", type=int, default=60, metavar="N", help="windows of 10 s in one sound (60)")
    service.add_argument("--max-waiting", type=int, default=256, metavar="N", help="requests that may wait (256)")
    add_sound_options(command)
    add_model_options(command)
    command.set_defaults(run=run, preprocess="kromosynth")


def run(options: argparse.Namespace) -> int:
    """Runs the command until it is interrupted."""
    try:
        import uvicorn

        from claprt.serve.app import create_app
        from claprt.serve.limits import Limits
    except ImportError as error:
        raise MissingDependencyError(f"{error.name} is not installed: pip install 'claprt[serve]'.") from error
    stated = os.environ.get("PORT", "32051")
    if options.port is None and not stated.isdigit():
        raise OptionError(f"PORT={stated!r} is no port.")
    port = int(stated) if options.port is None else options.port
    options.bundle = options.bundle or os.environ.get("CLAP_CHECKPOINT_PATH") or None
    limits = Limits(message_bytes=options.max_message_mb << 20, windows=options.max_windows, waiting=options.max_waiting)
    app = create_app(
        load_model(options), limits=limits, sample_rate=options.sample_rate, token=os.environ.get("CLAPRT_TOKEN") or None
    )
    uvicorn.run(
        app,
        host=options.host,
        port=port,
        ws_max_size=limits.message_bytes,
        log_level="warning",
        timeout_graceful_shutdown=30,
    )
    return 0
