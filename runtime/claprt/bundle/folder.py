"""The bundle: a folder of graphs, a tokenizer, and the manifest that says everything about them."""

from __future__ import annotations

import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from claprt._moved import restore
from claprt.bundle.address import is_address, refuse_address
from claprt.bundle.digests import remembered_digests, sha256_of
from claprt.bundle.graphs import FileInfo, Precision, Stage
from claprt.bundle.manifest import MANIFEST_BYTES, MANIFEST_FILE, TOKENIZER_FILE, Manifest, parse_manifest
from claprt.errors import BundleCorruptError, BundleError, BundleNotFoundError, OptionError, SmallModelWarning
from claprt.system.advice import frames_to_the_caller
from claprt.system.cache_folder import CacheFolder
from claprt.system.foreign_errors import describe_error

SMALL_MODEL = (
    'No bundle was named, so this is mini, the small model that ships with claprt (load("mini") takes it without this '
    "warning). For LAION's: name `630k-audioset-best`, which is fetched and exported once, or the folder that "
    "`claprt-export 630k-audioset-best --out FOLDER` wrote."
)
"""What is said where the small model is used because none was named."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A folder whose manifest has been read and whose files are present in their stated sizes."""

    folder: Path | None
    """None for a bundle on a server, of which the manifest alone is here."""
    manifest: Manifest
    verified: bool = False
    """Whether each file must be the one whose sha256 the manifest states, whenever it is loaded."""

    __setstate__ = restore

    @property
    def path(self) -> Path:
        """The folder.

        Raises:
            OptionError: If the bundle is on a server.
        """
        if self.folder is None:
            raise OptionError(f"The files of {self.manifest.name!r} are on a server. Name the bundle's folder instead.")
        return self.folder

    def graph_path(self, stage: Stage, precision: Precision) -> Path:
        """Where the graph of a stage lies."""
        return self.path / self.manifest.graph(stage, precision).file

    @property
    def tokenizer_path(self) -> Path:
        """Where the tokenizer lies."""
        return self.path / TOKENIZER_FILE

    @property
    def tokenizer_sha256(self) -> str | None:
        """What the tokenizer must hash to; None where the bundle is not verified."""
        return self.manifest.files[TOKENIZER_FILE].sha256 if self.verified else None

    def verify(self, cache: CacheFolder | None = None) -> None:
        """Compare the sha256 of every file with the manifest, and check that graphs hold all their weights.

        Args:
            cache: Remembers what has been checked, so that only files that have changed since are read again.

        Raises:
            BundleCorruptError: If a file was altered after the export, or a graph keeps weights in another file.
            BundleNotFoundError: If a file cannot be read.
        """  # noqa: DOC501 - raises a BundleError again
        listed = self.manifest.listed_files()
        try:
            if cache is None:
                digests = self._checked(list(listed))
            else:
                digests = remembered_digests(cache, self.path, listed, self._checked)
        except OSError as error:
            if isinstance(error, BundleError):
                raise
            raise BundleNotFoundError(f"The bundle at {self.path} cannot be read: {error.strerror}.") from error
        for name, facts in listed.items():
            digest = digests[name]
            if digest != facts.sha256:
                raise BundleCorruptError(
                    f"{self.path / name} is not the file that was exported: its sha256 begins {digest[:12]}, the "
                    f"manifest says {facts.sha256[:12]}. Copy the bundle again or export it again."
                )

    def _checked(self, names: Sequence[str]) -> dict[str, str]:
        """Digests by name; of graphs that are what the manifest says only if they hold all their weights.

        Raises:
            BundleCorruptError: If a graph keeps weights in another file.
        """
        from claprt.bundle.onnx_file import check_self_contained

        digests = self._digests(names)
        for name, facts in self.manifest.graph_files().items():
            if digests.get(name) == facts.sha256:
                try:
                    check_self_contained(self.path / name)
                except ValueError as error:
                    raise BundleCorruptError(
                        f"{self.path / name} is not a graph that is loaded here: {describe_error(error)}. "
                        "Export the checkpoint again."
                    ) from error
        return digests

    def _digests(self, names: Sequence[str]) -> dict[str, str]:
        with ThreadPoolExecutor(max_workers=min(4, os.cpu_count() or 1)) as pool:
            return dict(zip(names, pool.map(lambda name: sha256_of(self.path / name), names), strict=True))


BUNDLE_VARIABLE = "CLAPRT_BUNDLE"
"""Environment variable that names the bundle to use where none is named."""

_SHIPPED = Path(__file__).parents[1] / "mini"
_said: set[str] = set()


def default_bundle() -> str | Path:
    """What to load where nothing is named: what `CLAPRT_BUNDLE` names, else the small model that ships with the package.

    Where it is the small one, a `SmallModelWarning` says so, once in a process. `mini` as a bundle's name means it without.
    The variable may name whatever `claprt.load` takes.

    Raises:
        BundleNotFoundError: If the variable names nothing that exists.
    """
    named = os.environ.get(BUNDLE_VARIABLE)
    if named:
        from claprt.bundle.published import published_name

        if is_address(named) or published_name(named) is not None or os.path.lexists(bundle_folder(named)):
            return named
        raise BundleNotFoundError(
            f"{BUNDLE_VARIABLE} names {named}, which is not a bundle: there is no such folder or file, nor a published "
            "checkpoint of that name. Unset it or name another."
        )
    if not _said:
        _said.add(SMALL_MODEL)
        warnings.warn(SMALL_MODEL, SmallModelWarning, stacklevel=frames_to_the_caller())
    return _SHIPPED


def read_bundle(path: str | os.PathLike[str]) -> Bundle:
    """Read the manifest of a bundle and check that its files have their stated sizes.

    Raises:
        BundleNotFoundError: If the path, the folder, the manifest or a listed file is missing.
        BundleVersionError: If the manifest follows another schema.
        BundleCorruptError: If the manifest cannot be read, or a file has another size.
    """  # noqa: DOC501 - raises a BundleError again
    refuse_address(path)
    folder = bundle_folder(path)
    try:
        manifest = _read_manifest(folder)
        for name, facts in manifest.listed_files().items():
            _check_file(folder / name, facts)
    except OSError as error:
        if isinstance(error, BundleError):
            raise
        raise BundleNotFoundError(f"The bundle at {folder} cannot be read: {error.strerror}.") from error
    return Bundle(folder=folder, manifest=manifest)


def bundle_folder(path: object) -> Path:
    """The path of a bundle, from whatever was given as one; `mini`, where there is no such folder, is the one that ships.

    Raises:
        BundleNotFoundError: If it cannot be a path.
    """
    if not isinstance(path, str | os.PathLike) or "\0" in str(path) or not str(path):
        raise BundleNotFoundError(f"A bundle's folder was expected, and {path!r} was given, which is not a path.")
    folder = Path(path)
    return _SHIPPED if str(path).casefold() == "mini" and not folder.exists() else folder  # the case of names is free


def is_shipped(folder: Path) -> bool:
    """Whether a folder is that of the small model inside the package, which nothing may change."""
    return folder.resolve() == _SHIPPED.resolve()


def _read_manifest(folder: Path) -> Manifest:
    path = folder / MANIFEST_FILE
    if not path.is_file():
        found = "no such folder" if not folder.exists() else "a file" if folder.is_file() else f"no {MANIFEST_FILE}"
        export = f"--checkpoint {folder}" if folder.exists() else "VARIANT"
        raise BundleNotFoundError(
            f"A bundle was asked for at {folder}, and {found} was found there. A bundle is the folder that "
            f"`claprt-export {export} --out FOLDER` writes."
        )
    if (size := path.stat().st_size) > MANIFEST_BYTES:
        raise BundleCorruptError(f"{path} has {size} bytes, and a manifest has {MANIFEST_BYTES} at most.")
    return parse_manifest(path.read_bytes(), path)


def _check_file(path: Path, facts: FileInfo) -> None:
    if not path.is_file():
        raise BundleNotFoundError(
            f"{path} is listed in the manifest and missing from the bundle. Copy the bundle again or export it again."
        )
    size = path.stat().st_size
    if size != facts.bytes:
        raise BundleCorruptError(
            f"{path} has {size} bytes, the manifest says {facts.bytes}. Copy the bundle again or export it again."
        )
