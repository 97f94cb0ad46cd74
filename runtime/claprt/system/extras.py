"""Optional parts of the package, and the command that installs one into this environment."""

from __future__ import annotations

import json
import shlex
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

_NAME = "claprt"
_DISTRIBUTIONS = frozenset({"export", "native"})
"""Extras that are distributions of this project, named after their folders."""


def install_hint(*extras: str) -> str:
    """The command that adds extras to this installation, from where it was installed.

    That is the folder or wheel that the installer recorded (`direct_url.json`, PEP 610) as long as it is still there, else
    the package's name in an index.

    Args:
        extras: Names as in `pyproject.toml`, such as `serve`.

    Example:
        >>> install_hint("cpu", "serve").startswith("pip install ")
        True
    """
    chosen = f"[{','.join(extras)}]"
    found = origin()
    url = str(found.get("url", ""))
    others = [extra for extra in extras if extra in _DISTRIBUTIONS]
    what, editable = [f"{_NAME}{chosen}"], False
    if url.startswith("file:"):
        from urllib.request import url2pathname  # and an HTTP client, which nothing else needs

        path = Path(url2pathname(urlparse(url).path))
        if path.exists():
            editable = bool(found.get("dir_info", {}).get("editable", False))
            what = [f"{path}{chosen}", *(str(beside) for extra in others for beside in _beside(path, extra))]
    elif url:
        scheme = f"{found['vcs_info'].get('vcs', 'git')}+" if "vcs_info" in found else ""
        what = [f"{_NAME}{chosen} @ {scheme}{url}"]
        if scheme:
            what += [f"{_NAME}-{extra} @ {scheme}{url}#subdirectory={extra}" for extra in others]
    compiled = "native"  # is copied, not linked to
    words = [f"{'-e ' if editable and Path(one).name != compiled else ''}{shlex.quote(one)}" for one in what]
    return f"pip install {' '.join(words)}"


def _beside(path: Path, extra: str) -> list[Path]:
    """Another distribution of this project, of the same folder: an index may have another build of it."""
    if path.is_dir():
        return [path / extra] if (path / extra).exists() else []
    version = path.name.partition("-")[2].partition("-")[0]
    return sorted(path.parent.glob(f"claprt_{extra}-{version}-*.whl"))[:1]


@cache
def origin() -> dict[str, Any]:
    """What the installer recorded; empty where the package came from an index, or was not installed at all."""
    from importlib.metadata import PackageNotFoundError, distribution  # 20 ms that only a message needs

    try:
        recorded = json.loads(distribution(_NAME).read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, OSError, ValueError):
        return {}
    return recorded if isinstance(recorded, dict) else {}
