"""Options that several commands share, and the bundle that they lead to."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from typing import BinaryIO

from claprt.audio import AudioSource
from claprt.bundle import BUNDLE_VARIABLE, SMALL_MODEL, default_bundle
from claprt.clip import LongMode
from claprt.errors import SmallModelWarning
from claprt.graphs import Precision
from claprt.loading import load
from claprt.model import Clap
from claprt.preprocess import RECIPES
from claprt.providers import Provider


def add_model_options(command: argparse.ArgumentParser) -> None:
    """Adds what decides which model runs, and how."""
    model = command.add_argument_group("model")
    model.add_argument(
        "--bundle",
        metavar="FOLDER",
        help=f"bundle to use (or set {BUNDLE_VARIABLE}; else the small model that ships with claprt)",
    )
    model.add_argument("--provider", default="auto", choices=["auto", *map(str, Provider)], help="what to run on (auto)")
    model.add_argument(
        "--precision",
        choices=["auto", *map(str, Precision)],
        help="what to compute in; auto is the fastest that the bundle's judge accepted (fp32)",
    )
    model.add_argument("--threads", type=int, metavar="N", help="CPU threads (the physical cores)")
    model.add_argument("--cache", metavar="FOLDER", help="keep vectors of sounds there, and look for them first")
    model.add_argument("--fallback", action="store_true", help="let the CPU take over if the provider cannot be had")


def add_sound_options(command: argparse.ArgumentParser) -> None:
    """Adds what decides how sounds are prepared."""
    sound = command.add_argument_group("sounds")
    sound.add_argument("--preprocess", default="laion", choices=list(RECIPES), help="whose vectors to reproduce (laion)")
    sound.add_argument(
        "--long", choices=list(map(str, LongMode)), help="what to do with clips over 10 s (fusion if fused, else windows)"
    )
    sound.add_argument("--hop", type=float, metavar="SECONDS", help="for windows: from one to the next (10)")
    sound.add_argument("--seed", type=int, metavar="N", help="for random and fusion: the crops LAION draws for a seed")


def bundle_path(options: argparse.Namespace) -> str:
    """The bundle that was asked for, or the default one; says so on standard error where that is the small model."""
    if options.bundle is not None:
        return str(options.bundle)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SmallModelWarning)
        path = default_bundle()
    if not os.environ.get(BUNDLE_VARIABLE):
        print(f"note: {SMALL_MODEL}", file=sys.stderr)
    return str(path)


def load_model(options: argparse.Namespace) -> Clap:
    """The model that the options describe; says so on standard error where its weights are untrained."""
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
        cache=options.cache,
        projection=getattr(options, "projection", None),
    )
    if not clap.manifest.source.trained:
        print(f"note: {clap.manifest.name} has untrained weights; its vectors mean nothing.", file=sys.stderr)
    return clap


def sound_source(name: str) -> AudioSource:
    """A file as it was named on the command line; `-` is what standard input holds."""
    if name != "-":
        return name
    stdin: BinaryIO = sys.stdin.buffer
    return stdin.read()
