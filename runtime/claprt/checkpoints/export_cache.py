"""A checkpoint's export, kept in the cache: made by a process of the exporter's own, once, whole or not at all.

Exports lie in `exports` of the cache folder (`claprt.system.cache_folder`), which only its owner may enter, each
under a digest of what it depends on: the content of the checkpoint's files, its name and the
exporter. A lock that ends with its process lets one process export while others wait for the result. Without a cache folder
that can be written the export lies in a temporary folder and goes with this process.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import hashlib
import importlib.util
import json
import os
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from claprt._version import __version__
from claprt.bundle.folder import read_bundle
from claprt.bundle.manifest import MANIFEST_FILE
from claprt.checkpoints.exporter_process import run_exporter
from claprt.engines.graph_cache import GraphCache
from claprt.errors import BundleError, MissingDependencyError
from claprt.system.cache_folder import CACHE_VARIABLE
from claprt.system.extras import install_hint
from claprt.system.foreign_errors import escape_unprintable
from claprt.system.locks import waiting_lock

_NEEDED = ("claprt_export", "torch", "onnx", "onnxscript", "safetensors", "huggingface_hub")
_WEIGHTS = ("weights", "model.safetensors", "pytorch_model.bin")
"""Under which of these names a checkpoint's digest is known."""
_UNUSED_S = 30 * 24 * 3600
"""Seconds after which an export that nobody has loaded may go."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What is to be exported."""

    name: str
    """What the bundle will be called."""
    path: Path | None = None
    """The file or folder; None for a published checkpoint, which the exporter fetches by its name."""
    depends: Mapping[str, str]
    """What the result depends on, beside the exporter."""
    precision: str | None = None
    """One that it shall have beside fp32."""

    @property
    def key(self) -> str:
        """The name of the export's folder."""
        everything = {**self.depends, "exporter": _exporter(), "precision": self.precision or ""}
        return hashlib.sha256(json.dumps(everything, sort_keys=True).encode()).hexdigest()[:32]

    @property
    def arguments(self) -> list[str]:
        """What tells the exporter to export it."""
        precision = [] if self.precision is None else ["--precision", f"fp32,{self.precision}"]
        return [*([self.name] if self.path is None else ["--checkpoint", str(self.path)]), *precision]


def exported(checkpoint: Checkpoint, cache: GraphCache | None, *, quiet: bool = False) -> Path:
    """The folder of a checkpoint's bundle, exported now if it has not been.

    Args:
        checkpoint: What is to be exported.
        cache: Where exports are kept; None for a temporary folder.
        quiet: Says nothing on standard error.

    Raises:
        BundleError: If the export failed; the message says why.
        MissingDependencyError: If an export is needed and the packages for it are not installed.
    """
    kept = None if cache is None else cache.folder.absolute() / "exports"
    if kept is not None and _is_trusted(kept) and _is_whole(kept / checkpoint.key, cache):
        return _used(kept / checkpoint.key)
    _check_exporter(checkpoint)
    folder = _private(kept) or temporary_folder()
    place = folder / checkpoint.key
    say = _say_nothing if quiet else _say
    with waiting_lock(folder / f".{checkpoint.key}.lock", lambda: say(f"waiting for another export of {checkpoint.name}")):
        if not _is_whole(place, cache):
            _tidy(folder, place)
            say(_announcement(checkpoint, place, kept=folder == kept))
            run_exporter([*checkpoint.arguments, "--out", str(place)], checkpoint.name, quiet=quiet)
            if not _is_whole(place, cache):
                raise BundleError(
                    f"{checkpoint.name} was exported to {place}, and no whole bundle is there. Load it again."
                )
            if not _is_of(checkpoint, place):
                shutil.rmtree(place, ignore_errors=True)
                raise BundleError(f"{checkpoint.path} was changed while it was exported. Load it again when that is over.")
    return _used(place)


def _announcement(checkpoint: Checkpoint, place: Path, *, kept: bool) -> str:
    what = f"exporting {checkpoint.path}"
    if checkpoint.path is None:
        what = f"fetching {checkpoint.name}, unless the Hugging Face cache has it, and exporting it"
    where = f"it is kept in {place}"
    if not kept:
        where = f"no cache folder can be written ({CACHE_VARIABLE}), so it is kept for this process alone, in {place}"
    work = "about a minute's work" if checkpoint.precision is None else f"with {checkpoint.precision}, some minutes' work"
    return f"{what} once, {work}; {where}"


def _say(line: str) -> None:
    if sys.stderr is not None:
        with contextlib.suppress(OSError, ValueError):  # closed, or nobody reads it
            sys.stderr.write(f"claprt: {escape_unprintable(line)}\n")
            sys.stderr.flush()


def _say_nothing(line: str) -> None:
    del line


def _check_exporter(checkpoint: Checkpoint) -> None:
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise MissingDependencyError(
            f"{checkpoint.path or checkpoint.name} is a checkpoint, which is exported to a bundle once, and packages for "
            f"that are not installed ({', '.join(missing)}). Install them, {install_hint('export')}; or run `claprt-export "
            f"{' '.join(checkpoint.arguments)} --out FOLDER` where they are, and name FOLDER."
        )


@functools.cache
def _exporter() -> str:
    """The exporter's version and a digest of its source."""
    digest = hashlib.sha256(__version__.encode())
    spec = importlib.util.find_spec("claprt_export")
    for root in spec.submodule_search_locations or () if spec else ():
        for path in sorted(Path(root).rglob("*.py")):
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _is_whole(place: Path, cache: GraphCache | None) -> bool:
    """Whether a bundle is there whose files are those that were exported."""
    try:
        read_bundle(place).verify(cache)
    except BundleError:
        return False
    return True


def _is_of(checkpoint: Checkpoint, place: Path) -> bool:
    """Whether an export was made of the weights that its name is a digest of, and not of a file that came in between."""
    weights = [checkpoint.depends[name] for name in _WEIGHTS if name in checkpoint.depends]
    return not weights or read_bundle(place).manifest.source.sha256 == weights[0]


def _used(place: Path) -> Path:
    with contextlib.suppress(OSError):
        os.utime(place / MANIFEST_FILE)
    return place


def _private(folder: Path | None) -> Path | None:
    """The folder, made if need be, for its owner alone; None where that cannot be had."""
    if folder is None:
        return None
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if stat.S_IMODE(folder.stat().st_mode) & 0o077:
            folder.chmod(0o700)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError:
        return None
    return folder if _is_trusted(folder) else None


def _is_trusted(folder: Path) -> bool:
    """Whether a folder is there in which only this user, or root, can put anything.

    Raises:
        BundleError: If the folder belongs to another user.
    """
    try:
        found = folder.stat()
    except OSError:
        return False
    if sys.platform == "win32":
        return True
    if found.st_uid not in (0, os.geteuid()):
        raise BundleError(
            f"{folder} belongs to another user; name a cache folder of your own in {CACHE_VARIABLE}, or `off`."
        )
    return not stat.S_IMODE(found.st_mode) & 0o022


@functools.cache
def temporary_folder() -> Path:
    """Make a folder that goes with this process."""
    folder, owner = Path(tempfile.mkdtemp(prefix="claprt-")), os.getpid()

    def remove() -> None:
        if os.getpid() == owner:  # and not a fork of it
            shutil.rmtree(folder, ignore_errors=True)

    atexit.register(remove)
    return folder


def _tidy(folder: Path, place: Path) -> None:
    """Remove what killed exports of this place left, a damaged one, and exports that were not loaded for long."""
    before = time.time() - _UNUSED_S
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            left = path.name.startswith(f".{place.name}.") and path.is_dir()
            old = path.is_dir() and (path / MANIFEST_FILE).is_file() and (path / MANIFEST_FILE).stat().st_mtime < before
            if path == place and (path.is_symlink() or not path.is_dir()):
                path.unlink()
            elif left or old or path == place:
                shutil.rmtree(path, ignore_errors=True)
