"""Options that several commands share, and the bundle that they lead to."""

from __future__ import annotations

import argparse
import os
import warnings
from typing import TYPE_CHECKING

from claprt.audio.long_audio import LongMode
from claprt.audio.preprocess import RECIPES
from claprt.bundle.address import is_address
from claprt.bundle.folder import BUNDLE_VARIABLE, default_bundle
from claprt.bundle.graphs import Precision
from claprt.checkpoints.resolve import find_bundle
from claprt.engines.providers import Provider
from claprt.errors import OptionError, SmallModelWarning
from claprt.model.clap import Clap
from claprt.model.load import load
from claprt.system.terminal import note

if TYPE_CHECKING:
    from claprt.library.library import Library

_SMALL_MODEL = "using mini, the small model that ships with claprt"


def add_model_options(command: argparse.ArgumentParser, *, cache: bool = True, several: bool = False) -> None:
    """Add what decides which model runs, and how.

    Args:
        command: To which options are added.
        cache: Whether vectors may be kept in a cache.
        several: Whether several models may be named, each with a name of its own.
    """
    model = command.add_argument_group("model")
    more = "; NAME=MODEL, several times, for several models, the default one first" if several else ""
    model.add_argument(
        "--bundle",
        "--checkpoint",
        action="append" if several else "store",
        metavar="MODEL",
        help="folder of a bundle; or a checkpoint, which is exported once: a .pt file, a transformers folder, a published "
        f"name such as 630k-audioset-best (or set {BUNDLE_VARIABLE}; else mini, the small model that ships with claprt)"
        + more,
    )
    model.add_argument(
        "--provider", default="auto", choices=["auto", *map(str, Provider)], help="what to run on (%(default)s)"
    )
    model.add_argument(
        "--precision",
        choices=["auto", *map(str, Precision)],
        help="what to compute in; auto is the fastest that the bundle's quality gate accepted (fp32)",
    )
    model.add_argument("--threads", type=int, metavar="N", help="CPU threads (the physical cores)")
    if cache:
        model.add_argument("--cache", metavar="FOLDER", help="store vectors of sounds there, and look them up first")
    model.add_argument("--fallback", action="store_true", help="use the CPU if the provider is not available")


def add_library_model_options(command: argparse.ArgumentParser) -> None:
    """Add where a library's own model is and what it runs on; the library states its precision and preprocessing."""
    model = command.add_argument_group("library model")
    model.add_argument("--bundle", metavar="MODEL", help="the library's model, where it is not where the library says")
    model.add_argument(
        "--provider", default="auto", choices=["auto", *map(str, Provider)], help="what to run on (%(default)s)"
    )
    model.add_argument("--threads", type=int, metavar="N", help="CPU threads (the physical cores)")
    model.add_argument("--fallback", action="store_true", help="use the CPU if the provider is not available")


def open_library_of(options: argparse.Namespace) -> Library:
    """The library that was named, with the options of `add_library_model_options`.

    Raises:
        LibraryError: if there is none, or it cannot be read.
    """
    from claprt.library.library import open_library

    return open_library(
        options.library,
        options.bundle,
        provider=options.provider,
        threads=options.threads,
        fallback=options.fallback,
        memory_mb=getattr(options, "memory", 1000),
    )


def add_sound_options(
    command: argparse.ArgumentParser, *, preprocess: str | None = "laion", stated: str | None = None
) -> None:
    """Add what decides how sounds are prepared; `preprocess` is the default of that option, `stated` what its help says."""
    sound = command.add_argument_group("sounds")
    sound.add_argument(
        "--preprocess",
        default=preprocess,
        choices=list(RECIPES),
        help=f"whose vectors to reproduce ({stated or preprocess})",
    )
    sound.add_argument(
        "--long", choices=list(map(str, LongMode)), help="what to do with clips over 10 s (fusion if fused, else windows)"
    )
    sound.add_argument(
        "--hop", type=float, metavar="SECONDS", help="for windows: distance between their starts (one window)"
    )
    sound.add_argument("--seed", type=int, metavar="N", help="for random and fusion: the crops LAION draws for a seed")


def bundle_path(options: argparse.Namespace) -> str:
    """The folder of the bundle that was named, of a checkpoint's export or of the default one; or a server's address.

    Raises:
        BundleError: there is none, or the export failed.
    """
    named = options.bundle
    if named is None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", SmallModelWarning)
            named = default_bundle()
    return (
        str(named)
        if is_address(named)
        else str(find_bundle(named, precision=getattr(options, "precision", None), quiet=options.quiet))
    )


def bundle_folder_path(options: argparse.Namespace) -> str:
    """The folder of the bundle that was named, or of the default one.

    Raises:
        OptionError: if a server's address was named, where the files are needed.
    """
    path = bundle_path(options)
    if is_address(path):
        raise OptionError(f"{path} is a server's address; name the folder of a bundle, as claprt-export wrote it.")
    return path


def load_model(options: argparse.Namespace, *, name_small: bool = True, lazy: bool = False) -> Clap:
    """The model that the options describe; notes say where its weights are untrained and, unless told not to, small.

    Args:
        options: Of the command.
        name_small: Whether the small model is named where none was asked for.
        lazy: Whether the audio tower is loaded only when it is first used.
    """
    clap = load(
        bundle_path(options),
        provider=options.provider,
        precision=options.precision,
        threads=options.threads,
        preprocess=getattr(options, "preprocess", "laion"),
        long=getattr(options, "long", None),
        hop_s=getattr(options, "hop", None),
        seed=getattr(options, "seed", None),
        fallback=options.fallback,
        lazy=lazy,
        cache=getattr(options, "cache", None),
        projection=getattr(options, "projection", None),
    )
    if name_small and options.bundle is None and not os.environ.get(BUNDLE_VARIABLE):
        note(options, f"{_SMALL_MODEL} (another: --bundle MODEL).")
    if not clap.manifest.source.trained:
        note(options, f"{clap.manifest.name} has untrained weights; its vectors mean nothing.")
    return clap
