"""Former place of the supervisor of PyPI's Triton server: `tools/pypi_triton_server.py` of the repository.

It is for development and tests, so installations do not have it. In a clone `python -m claprt.triton.pypi_server` runs it.
"""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

PROGRAM = Path(__file__).resolve().parents[3] / "tools" / "pypi_triton_server.py"


def main() -> int:
    """Run the supervisor of this clone; without one, print where it is."""
    if not PROGRAM.is_file():
        print(
            f"claprt: the supervisor of PyPI's Triton server is not installed with claprt any more: it is "
            f"{'/'.join(PROGRAM.parts[-2:])} of the repository and of the sdist. In production use NVIDIA's container.",
            file=sys.stderr,
        )
        return 1
    status: int = runpy.run_path(str(PROGRAM))["main"]()
    return status


if __name__ == "__main__":
    sys.exit(main())
