"""The models that the flags of `claprt serve` name, and how they are loaded."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from claprt.bundle.address import is_address
from claprt.bundle.folder import BUNDLE_VARIABLE
from claprt.bundle.graphs import Stage
from claprt.cli.options import bundle_path, load_model
from claprt.compat.kromosynth import CHECKPOINT_VARIABLE, DEVICE_VARIABLE, provider_of
from claprt.errors import FingerprintError, OptionError
from claprt.model.clap import Clap

if TYPE_CHECKING:
    from claprt.library.library import Library

PREPROCESS = "kromosynth"
"""Preprocessing where neither an option nor a library says which."""
_OF_LIBRARY = ("preprocess", "precision", "long", "seed")
"""Options that a library states, besides its bundle."""


def stated_models(options: argparse.Namespace) -> dict[str, argparse.Namespace]:
    """The options of each model by its name; by an empty one where one model is served, without a name.

    Raises:
        OptionError: If a name is missing, not possible, there twice, or of no model.
    """
    from claprt.serve.scheduling.models import check_names

    bundles = _by_name("--bundle", options.bundle) or {"": None}
    projections = _by_name("--projection", options.projection)
    if "" not in bundles:
        check_names(bundles)
    for name, folder in projections.items():
        if name not in bundles:
            wanted = " or ".join(f"{model}={folder}" for model in bundles) if "" not in bundles else folder
            raise OptionError(f"--projection is of one of the models that are served; give {wanted}.")
    given = vars(options)
    return {
        name: argparse.Namespace(**{**given, "bundle": bundle, "projection": projections.get(name)})
        for name, bundle in bundles.items()
    }


def _by_name(flag: str, values: Sequence[str] | None) -> dict[str, str | None]:
    """What a flag states by the names of models, or by an empty name where it is there once without one.

    Raises:
        OptionError: If it is there several times and once without a name, or a name is there twice.
    """
    found = dict[str, str | None]()
    for value in values or ():
        name, path = _split(flag, value)
        if not name and len(values or ()) > 1:
            raise OptionError(
                f"{flag} is there {len(values or ())} times, and {value} has no name; give NAME={value}. Clients find a "
                "model by its name, at /models/NAME."
            )
        if name in found:
            raise OptionError(f"{flag} has the name {name} twice; {found[name]} and {path} each need one of their own.")
        found[name] = path
    return found


def _split(flag: str, value: str) -> tuple[str, str]:
    """Split NAME=PATH; the name is empty where there is only a path, which may contain `=` as well.

    Raises:
        OptionError: If there is nothing before or behind the `=`.
    """
    name, equals, path = value.partition("=")
    if not equals or {"/", "\\"} & set(name) or Path(value).exists():
        return "", value
    if not (name and path):
        raise OptionError(f"{flag} {value} is not understood; give a path, or NAME=PATH.")
    return name, path


def take_from_library(options: argparse.Namespace) -> Library | None:
    """The library that was named. Options of the model that were not given are taken from it.

    Raises:
        OptionError: If its sounds are to be played, and none was named.
        LibraryError: If there is none at the path, or it cannot be read.
    """
    if options.library is None:
        if options.allow_audio:
            raise OptionError("--allow-audio is about the sounds of a library; name one (--library LIBRARY).")
        options.preprocess = options.preprocess or PREPROCESS
        return None
    from claprt.library.library import open_library

    library = open_library(options.library, threads=options.threads)
    made_by = library.manifest.model
    stated = {"hop": made_by.hop_s, **{name: getattr(made_by, name) for name in _OF_LIBRARY}}
    stated["bundle"] = [made_by.bundle]
    for name, value in stated.items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return library


def load_models(options: argparse.Namespace, library: Library | None) -> Clap | Mapping[str, Clap]:
    """The model, or the models by their names, as claprt's flags, kromosynth's or the library name them.

    Raises:
        OptionError: If two names are of one bundle, or options of a model are not possible.
        FingerprintError: If the library's vectors are of no model, or were made with other options.
    """
    models = stated_models(options)
    folders = dict[str, str]()
    for name, one in models.items():
        _complete(one)
        if name:
            folder = bundle_path(one)
            folder = folder if is_address(folder) else os.path.realpath(folder)
            if folder in folders:
                raise OptionError(f"{folders[folder]} and {name} are both {folder}; serve it once, under one name.")
            folders[folder] = name
    loaded = {name: load_model(one, lazy=one.only == Stage.TEXT) for name, one in models.items()}
    given = [clap.fingerprint for clap in loaded.values()]
    if library is not None and library.fingerprint not in given:
        raise FingerprintError(
            f"The library {options.library} has vectors of {library.fingerprint}, and the model that was asked for gives "
            f"those of {' or '.join(given)}, which cannot be compared. Without --bundle, --preprocess, --precision, "
            "--long, --hop and --seed, the library's own model is served as it was when it was indexed."
        )
    return loaded.get("", loaded)


def _complete(options: argparse.Namespace) -> None:
    """Take options of a model that were not given from the environment.

    Raises:
        OptionError: If `--device` and `--provider` name different providers.
    """
    options.bundle = options.bundle or os.environ.get(CHECKPOINT_VARIABLE) or None
    if options.device is not None and options.provider not in ("auto", options.device):
        raise OptionError(f"--device {options.device} and --provider {options.provider} exclude each other.")
    served = is_address(options.bundle or os.environ.get(BUNDLE_VARIABLE))
    if options.device is not None or options.provider == "auto":
        options.provider = options.device or provider_of(None if served else os.environ.get(DEVICE_VARIABLE))
