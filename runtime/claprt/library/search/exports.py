"""Hits as files that other programs open: a playlist, a table, a folder of links or copies."""

from __future__ import annotations

import csv
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from claprt.errors import OptionError
from claprt.library.paths import INSIDE, local_path
from claprt.library.search.hits import Hit
from claprt.system.atomic import atomic_file

PLAYLISTS, TABLES = (".m3u8", ".m3u"), (".csv",)
_UNSAFE = re.compile(r'[\x00-\x1f<>:"/\\|?*]+')
_LONGEST = 120


def export_hits(hits: Sequence[Hit], target: Path, *, copy: bool = False) -> list[Hit]:
    """Write hits to a file or a folder, by the target's suffix.

    Args:
        hits: Best first.
        target: A playlist (`.m3u8`), a table (`.csv`), or else a folder, which is made and must be empty.
        copy: Whether a folder gets copies of the sounds instead of links to them; a playlist and a table have none.

    Returns:
        The hits that are not in it: of a playlist those inside of archives, of a folder those that are no local files, or
        are not there any more.

    Raises:
        OptionError: If the target cannot be written, is a folder that holds something, or `copy` is asked of a file.
    """
    suffix = target.suffix.lower()
    if copy and suffix in (*PLAYLISTS, *TABLES):
        raise OptionError(
            f"Copies of the sounds were asked for (copy=True, --copy), and {target} is a {suffix} file, which holds none. "
            "Name a folder, or leave the copies out."
        )
    try:
        if suffix in PLAYLISTS:
            return _write_playlist(hits, target)
        if suffix in TABLES:
            return _write_table(hits, target)
        return _fill_folder(hits, target, copy=copy)
    except OSError as error:
        raise OptionError(f"The hits cannot be written to {target}: {error.strerror or error}.") from error


def _write_playlist(hits: Sequence[Hit], target: Path) -> list[Hit]:
    lines, left_out = ["#EXTM3U"], list[Hit]()
    for hit in hits:
        if INSIDE in hit.path and local_path(hit.path) is None:
            left_out.append(hit)
            continue
        title = " ".join(_name(hit.path).split())
        lines.append(f"#EXTINF:{-1 if hit.duration_s is None else round(hit.duration_s)},{title}")
        if hit.start_s > 0:
            lines.append(f"#EXTVLCOPT:start-time={hit.start_s:g}")
        lines.append(_one_line(hit.path))
    with atomic_file(target) as new:
        new.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return left_out


def _one_line(path: str) -> str:
    """A path as a line of a playlist: a URL where it holds line feeds."""
    return Path(path).absolute().as_uri() if "\n" in path or "\r" in path else path


def _write_table(hits: Sequence[Hit], target: Path) -> list[Hit]:
    facts = sorted({name for hit in hits for name in hit.facts})
    with atomic_file(target) as new, new.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow(["path", "score", "start_s", "duration_s", "id", *facts])
        for hit in hits:
            own = [hit.path, f"{hit.score:.6f}", hit.start_s, hit.duration_s, hit.id]
            table.writerow([*own, *(hit.facts.get(name) for name in facts)])
    return []


def _fill_folder(hits: Sequence[Hit], target: Path, *, copy: bool) -> list[Hit]:
    if target.exists() and any(target.iterdir()):
        raise OptionError(
            f"The hits cannot be put into {target}, which holds something; name a new folder or an empty one."
        )
    target.mkdir(parents=True, exist_ok=True)
    left_out: list[Hit] = []
    digits = len(str(len(hits)))
    for number, hit in enumerate(hits, 1):
        source = local_path(hit.path)
        if source is None or not os.path.exists(source):  # noqa: PTH110 - it may hold surrogates
            left_out.append(hit)
            continue
        place = target / f"{number:0{digits}} {_UNSAFE.sub('_', _name(hit.path))[-_LONGEST:]}"
        if copy:
            shutil.copyfile(source, place)
        else:
            place.symlink_to(os.path.abspath(source))  # noqa: PTH100 - links keep their names
    return left_out


def _name(path: str) -> str:
    return re.split(r"[/\\]", path.rstrip("/\\"))[-1] or "sound"
