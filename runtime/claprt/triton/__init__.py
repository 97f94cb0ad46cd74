"""CLAP on NVIDIA's Triton: what runs beside the server or in it. Imports `tasks` and below, not `serve`.

    repository     model repositories: built from a bundle, and checked
    backend        the Python models of a repository
    probe          `python -m claprt.triton.probe`: liveness of a server, through every model
    pypi_server    former place of the supervisor of PyPI's server

The names below belong to the client, `claprt.engines.triton`. They are imported when they are first used, because
tritonclient is an extra.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from claprt.engines.triton.aio import AsyncTritonEngine
    from claprt.engines.triton.engine import TritonEngine
    from claprt.engines.triton.transport import Security

__all__ = ["AsyncTritonEngine", "Security", "TritonEngine"]

_MODULES = {"AsyncTritonEngine": "aio", "TritonEngine": "engine", "Security": "transport"}  # of claprt.engines.triton


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"claprt.engines.triton.{_MODULES[name]}"), name)
