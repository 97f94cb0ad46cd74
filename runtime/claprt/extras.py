"""Optional parts of the package, and the command that installs one into this environment."""

from __future__ import annotations

import json
import shlex
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

_NAME = "claprt"


def install_hint(*extras: str) -> str:
    """The command that adds extras to this installation, from where it was installed.

    That is the folder or wheel that the installer recorded (`direct_url.json`, PEP 610) as long as it is still there, else
    the package's name in an index.

    Args:
        extras: names as in `pyproject.toml`, such as `serve`.

    Example:
        >>> install_hint("cpu", "serve").startswith("pip install ")
        True
    """
    chosen = f"[{','.join(extras)}]"
    found = origin()
    url = str(found.get("url", ""))
    if url.startswith("file:"):
        from urllib.request import url2pathname  # and an HTTP client, which nothing else needs

        path = Path(url2pathname(urlparse(url).path))
        if path.exists():
            editable = found.get("dir_info", {}).get("editable", False)
            return f"pip install {'-e ' if editable else ''}{shlex.quote(f'{path}{chosen}')}"
    elif url:
        scheme = f"{found['vcs_info'].get('vcs', 'git')}+" if "vcs_info" in found else ""
        return f"pip install {shlex.quote(f'{_NAME}{chosen} @ {scheme}{url}')}"
    return f"pip install {shlex.quote(f'{_NAME}{chosen}')}"


@cache
def origin() -> dict[str, Any]:
    """What the installer recorded; empty where the package came from an index, or was not installed at all."""
    from importlib.metadata import PackageNotFoundError, distribution  # 20 ms that only a message needs

    try:
        recorded = json.loads(distribution(_NAME).read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, OSError, ValueError):
        return {}
    return recorded if isinstance(recorded, dict) else {}
