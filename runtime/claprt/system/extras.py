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
        extras: Names as in `pyproject.toml`, such as `serve`.

    Example:
        >>> install_hint("cpu", "serve").startswith("pip install ")
        True
    """
    chosen = f"[{','.join(extras)}]"
    found = origin()
    url = str(found.get("url", ""))
    what, before = [f"{_NAME}{chosen}"], ""
    if url.startswith("file:"):
        from urllib.request import url2pathname  # and an HTTP client, which nothing else needs

        path = Path(url2pathname(urlparse(url).path))
        if path.exists():
            before = "-e " if found.get("dir_info", {}).get("editable", False) else ""
            what = [f"{path}{chosen}"]
            if "export" in extras:  # the other distribution, of the same folder: an index may have another build of it
                beside = (
                    path / "export" if path.is_dir() else path.with_name(path.name.replace("claprt-", "claprt_export-", 1))
                )
                what += [str(beside)] if beside.exists() else []
            if "native" in extras and path.is_dir():
                what, before = [str(path / "native")], ""
    elif url:
        scheme = f"{found['vcs_info'].get('vcs', 'git')}+" if "vcs_info" in found else ""
        what = [f"{_NAME}{chosen} @ {scheme}{url}"]
        if "export" in extras and scheme:
            what.append(f"claprt-export @ {scheme}{url}#subdirectory=export")
    return f"pip install {' '.join(f'{before}{shlex.quote(one)}' for one in what)}"


@cache
def origin() -> dict[str, Any]:
    """What the installer recorded; empty where the package came from an index, or was not installed at all."""
    from importlib.metadata import PackageNotFoundError, distribution  # 20 ms that only a message needs

    try:
        recorded = json.loads(distribution(_NAME).read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, OSError, ValueError):
        return {}
    return recorded if isinstance(recorded, dict) else {}
