"""CLAP behind NVIDIA's Triton: the model repository, the engine that asks a server, and a server for development.

`engine` is the client's side and `aio` the same for asynchronous programs, `repository` puts a bundle's graphs into the
committed configurations and `lint` checks them, `steps` is what the repository's python models share, `pypi_server` runs
the server that PyPI has. docs/triton.md tells the whole story.
"""

from claprt.triton.aio import AsyncTritonEngine
from claprt.triton.engine import TritonEngine
from claprt.triton.transport import Security

__all__ = ["AsyncTritonEngine", "Security", "TritonEngine"]
