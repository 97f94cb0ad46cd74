"""What `claprt serve` takes from the environment where no flag is given: the port, the token, the name of the process."""

from __future__ import annotations

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from claprt.errors import OptionError

PORT = 32051
TOKEN_VARIABLE = "CLAPRT_TOKEN"


def port_of(given: int | None) -> int:
    """The port that was given, or that of the environment.

    Raises:
        OptionError: If it is none.
    """
    stated = os.environ.get("PORT") or str(PORT)
    if given is None and not (stated.isascii() and stated.isdigit()):
        raise OptionError(f"PORT={stated!r} is not a port.")
    port = int(stated) if given is None else given
    if not 0 <= port <= 65_535:
        raise OptionError(f"port={port} is not a port; give 1 to 65535, or 0 for any that is free.")
    return port


def token_of(path: str | None) -> str | None:
    """The token of the file, or of the environment.

    Raises:
        OptionError: If the file cannot be read or holds no token.
    """
    if path is None:
        stated, where = os.environ.get(TOKEN_VARIABLE), TOKEN_VARIABLE
        if stated is None:
            return None
    else:
        where = f"--token-file {path}"
        try:
            stated = Path(path).read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise OptionError(f"{where} cannot be read: {error}.") from error
    token = stated.strip()
    if not token or not token.isascii() or not token.isprintable():
        raise OptionError(
            f"{where} holds no token; one line of printable ASCII was expected. To serve without one, leave it out."
        )
    return token


def name_process(title: str | None) -> None:
    """Name the process as was asked for, or as the environment says, where setproctitle is installed."""
    title = title or os.environ.get("PROCESS_TITLE") or None
    try:
        named: Any = importlib.import_module("setproctitle")
    except ImportError:
        if title is not None:
            print(f"note: the process is not named {title}: setproctitle is not installed.", file=sys.stderr)
        return
    named.setproctitle(title or "clap_service")
