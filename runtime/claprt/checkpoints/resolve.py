"""From whatever names a model to the folder of its bundle: a bundle's own, or the export of a checkpoint.

A checkpoint is a `.pt` file of LAION, a folder that transformers saved, or the name of a published one. It is exported once
(`claprt.checkpoints.export_cache`); the export is kept under a name made of the content of the checkpoint's
files, so that a checkpoint that was replaced is exported again and one that was moved or touched is not.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from claprt.bundle.address import refuse_address
from claprt.bundle.digests import remembered_digests, sha256_of
from claprt.bundle.folder import bundle_folder
from claprt.bundle.graphs import Precision
from claprt.bundle.manifest import MANIFEST_FILE
from claprt.bundle.published import published_name, similar_names
from claprt.engines.graph_cache import GraphCache, default_cache
from claprt.errors import BundleCorruptError, BundleError, BundleNotFoundError

if TYPE_CHECKING:
    from claprt.checkpoints.export_cache import Checkpoint

TOKENIZER_VARIABLE = "CLAPRT_TOKENIZER"
"""Environment variable that names the tokenizer of checkpoints that come without one, as LAION's .pt files do."""

_WEIGHTS = ("model.safetensors", "pytorch_model.bin")
_TOKENIZER = ("tokenizer.json", "vocab.json", "merges.txt")
_BESIDE = ("config.json", "preprocessor_config.json", *_TOKENIZER)
_LOWERED = frozenset(Precision) - {Precision.FP32}
_FILES = frozenset({".pt", ".pth", ".ckpt", ".bin", ".safetensors"})


def find_bundle(named: str | os.PathLike[str], *, precision: str | None = None, quiet: bool = False) -> Path:
    """Find the folder of the bundle that a name means; export a checkpoint if need be.

    Args:
        named: A bundle's folder; a checkpoint, which is exported where it has not been: a `.pt` file, a folder that
            transformers saved, or a published name such as `630k-audioset-best` or `laion/clap-htsat-fused`, which is
            downloaded; or `mini`.
        precision: One to export beside fp32, where a checkpoint is exported; None, fp32 and `auto` add none.
        quiet: Says nothing on standard error while it exports.

    Raises:
        BundleNotFoundError: If the name means none of these, or a file cannot be read.
        BundleError: If the export failed.
        MissingDependencyError: If an export is needed and the packages for it are not installed.
    """
    refuse_address(named)
    path = bundle_folder(named)
    try:
        if (path / MANIFEST_FILE).is_file():
            return path
        from claprt.checkpoints.export_cache import exported  # and what is there to start processes, for checkpoints alone

        cache = default_cache()
        checkpoint = _found(str(named), path, cache)
        if precision in _LOWERED:
            checkpoint = replace(checkpoint, precision=precision)
        return exported(checkpoint, cache, quiet=quiet)
    except BundleError:
        raise
    except OSError as error:
        raise BundleNotFoundError(f"The bundle at {path} cannot be read: {error.strerror or error}.") from error


def _found(named: str, path: Path, cache: GraphCache | None) -> Checkpoint:
    """The checkpoint that a name means, with the digests of what its export depends on.

    Raises:
        BundleNotFoundError: If there is none of this name.
    """
    from claprt.checkpoints.export_cache import Checkpoint

    tokenizer = _tokenizer(cache)
    if path.is_dir():
        files = _checkpoint_files(path)
    elif path.is_file():
        _check_file(path)
        files = [path]
    elif os.path.lexists(path):
        raise BundleNotFoundError(
            f"A bundle was asked for at {path}, which is neither a folder nor a file (a broken link, a pipe or a device)."
        )
    elif (name := published_name(named)) is not None:
        return Checkpoint(name=name, depends={"name": name, **tokenizer})
    else:
        raise BundleNotFoundError(_nothing_there(named, path))
    place = Path(os.path.abspath(path))  # noqa: PTH100 - keeps a link's own name, which becomes the bundle's
    called = place.name if path.is_dir() else place.stem
    digests = {file.name: _digest(file, cache) for file in files}
    if not path.is_dir():
        digests = {"weights": digests[path.name]}
    has_own = any(name in digests for name in _TOKENIZER)
    return Checkpoint(name=called, path=place, depends={"called": called, **digests, **({} if has_own else tokenizer)})


def _checkpoint_files(folder: Path) -> list[Path]:
    """The files of a transformers folder on which an export depends, weights first.

    Raises:
        BundleNotFoundError: If there are no weights in one file.
    """
    weights = next((folder / name for name in _WEIGHTS if (folder / name).is_file()), None)
    if weights is None:
        raise BundleNotFoundError(_no_bundle(folder))
    _check_file(weights)
    return [weights, *(folder / name for name in _BESIDE if (folder / name).is_file())]


def _no_bundle(folder: Path) -> str:
    inside = sorted(path.name for path in folder.iterdir() if path.suffix in _FILES)
    sharded = [name for name in inside if "-of-" in name]
    if sharded:
        more = (
            f"Its weights are in parts ({sharded[0]} …); save them in one, save_pretrained(FOLDER, max_shard_size='10GB')."
        )
    elif inside:
        more = f"It holds {', '.join(inside[:3])}{' …' if len(inside) > 3 else ''}: name that file, {folder / inside[0]}."
    elif (folder / "snapshots").is_dir():
        more = f"It is a repository in the Hugging Face cache: name the folder of a version in {folder / 'snapshots'}."
    else:
        more = (
            "A bundle is the folder that `claprt-export` writes; a checkpoint's folder holds " + " or ".join(_WEIGHTS) + "."
        )
    return f"A bundle was asked for at {folder}, and no {MANIFEST_FILE} was found there. {more}"


def _check_file(file: Path) -> None:
    from claprt.checkpoints.checkpoint_file import checkpoint_fault

    fault = checkpoint_fault(file)
    if file.name == MANIFEST_FILE:
        fault = f"it is a bundle's manifest; name its folder, {file.parent}."
    if fault is None:
        return
    kind = BundleCorruptError if file.suffix in _FILES else BundleNotFoundError
    raise kind(f"A bundle or a checkpoint was asked for at {file}, and a file was found there that is neither: {fault}")


def _nothing_there(named: str, path: Path) -> str:
    """What to do where a name leads to nothing."""
    known, similar = published_name(path.name), similar_names(named)
    if path.suffix in _FILES and (path.parent != Path() or not similar):
        hint = f" The published checkpoint of this name is fetched for {known!r}, without a folder." if known else ""
        return f"A checkpoint was asked for at {path}, and no such file was found there.{hint}"
    if similar:
        hint = f"Did you mean {' or '.join(similar)}? "
    elif named.count("/") == 1 and not path.parent.exists():
        hint = f"Another model of the Hugging Face hub is fetched first: `hf download {named} --local-dir FOLDER`. "
    else:
        hint = ""
    return (
        f"A bundle was asked for at {path}, and no such folder was found there; nor has a published checkpoint that name. "
        f"{hint}`claprt-export --help` lists the names; a bundle is the folder that `claprt-export VARIANT --out FOLDER` "
        "writes."
    )


def _tokenizer(cache: GraphCache | None) -> dict[str, str]:
    """Digests of the files of the tokenizer that the environment names.

    Raises:
        BundleNotFoundError: If there is none.
    """
    named = os.environ.get(TOKENIZER_VARIABLE)
    if not named:
        return {}
    path = Path(named)
    files = [path] if path.is_file() else [path / name for name in _TOKENIZER if (path / name).is_file()]
    if not files:
        raise BundleNotFoundError(
            f"{TOKENIZER_VARIABLE} names {named}, where no tokenizer.json is, nor vocab.json with merges.txt. Unset it or "
            "name another."
        )
    return {f"tokenizer {file.name}": _digest(file, cache) for file in files}


def _digest(file: Path, cache: GraphCache | None) -> str:
    """sha256 of a file, read only if it has changed since the last time."""
    if cache is None:
        return sha256_of(file)

    def compute(names: Sequence[str]) -> dict[str, str]:
        return dict.fromkeys(names, sha256_of(file))

    return remembered_digests(cache, file, [""], compute)[""]  # a folder that is the file itself
