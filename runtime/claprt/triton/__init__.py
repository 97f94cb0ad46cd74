"""CLAP behind NVIDIA's Triton: the model repository, and the engine that asks a server.

`engine` is the client's side and `aio` the same for asynchronous programs, `repository` puts a bundle's graphs into the
committed configurations and `lint` checks them, `steps` is what the repository's python models share. docs/triton.md tells
the whole story.

The three names below are imported when they are first used, so that `import claprt` needs none of what they need.
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
