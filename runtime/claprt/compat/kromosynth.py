"""`CLAPExtractor` of kromosynth-evaluate (`features/clap/clap_extractor.py`), with every method and attribute.

    from claprt.compat.kromosynth import CLAPExtractor

What it does to a sound is the original's: mono, resampled by resampy's `kaiser_best` filter, divided by its peak unless
it is silent, then LAION's preprocessing. Where the original draws ten seconds of a longer sound at random, this averages
windows, so that the same sound has the same vector; and where it moves to the CPU without a word, this one raises.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from claprt.arrays import Embedding, Embeddings
from claprt.errors import OptionError
from claprt.loading import load
from claprt.model import Clap
from claprt.triton.address import is_address

CHECKPOINT_VARIABLE = "CLAP_CHECKPOINT_PATH"
DEVICE_VARIABLE = "CLAP_DEVICE"
_ON_GPU = frozenset({"cuda", "tensorrt"})
_PROVIDERS = {None: "auto", "cpu": "cpu", "cuda": "cuda"}


class CLAPExtractor:
    """Vectors of sounds as kromosynth has them."""

    def __init__(
        self,
        checkpoint_path: str | os.PathLike[str] | None = None,
        device: str | None = None,
        enable_fusion: bool = False,
        amodel: str | None = None,
        *,
        precision: str | None = None,
        model: Clap | None = None,
    ) -> None:
        """Loads the model.

        Args:
            checkpoint_path: folder of the bundle that `claprt-export --checkpoint PATH` made of the original's file, or the
                address of a Triton server; by default what `CLAP_CHECKPOINT_PATH` or `CLAPRT_BUNDLE` names, else the small
                model that ships with the package.
            device: `cpu`, `cuda` (or `cuda:0`), or None for the best there is; by default what `CLAP_DEVICE` says.
            enable_fusion: must say whether the bundle is fused.
            amodel: must be the bundle's audio architecture, where it is given (`HTSAT-tiny`, `HTSAT-base`).
            precision: as in `claprt.load`.
            model: a model that was loaded with `preprocess="kromosynth"`, instead of all this.

        Raises:
            OptionError: the arguments do not fit the bundle, or a checkpoint is given instead of a bundle.
            BundleError: there is no bundle.
            ProviderUnavailableError: the device cannot be had.
        """
        self.model = _loaded(checkpoint_path, device, precision) if model is None else model
        if self.model.recipe.name != "kromosynth":
            raise OptionError('The model was loaded with another preprocess; this takes preprocess="kromosynth".')
        facts = self.model.manifest.audio
        if facts.fused is not bool(enable_fusion):
            kind = "a fused checkpoint" if facts.fused else "no fused checkpoint"
            raise OptionError(f"enable_fusion={enable_fusion} was given, and the bundle is of {kind}.")
        if amodel is not None and amodel != facts.architecture:
            raise OptionError(f"amodel={amodel!r} was given, and the bundle is of {facts.architecture}.")
        self.device = "cuda" if self.model.provider in _ON_GPU else "cpu"
        """`cuda` or `cpu`: what it really runs on here."""
        self.target_sample_rate = self.model.sample_rate
        """Rate that the model hears at, in Hz: 48000."""

    def extract_embedding(self, audio_buffer: ArrayLike, sample_rate: int) -> Embedding:
        """The vector [512] of a sound: [samples], [2, samples] or [samples, 2], any numeric dtype, at `sample_rate` Hz.

        Raises:
            AudioError: it is no sound that can be embedded.
        """
        return self.model.embed_audio(np.asarray(audio_buffer), sample_rate)

    def extract_batch(self, audio_buffers: Iterable[ArrayLike], sample_rate: int) -> Embeddings:
        """The vectors [n, 512] of sounds of one rate, each as `extract_embedding` gives it.

        Raises:
            AudioError: one is no sound that can be embedded.
        """
        return self.model.embed_audio([np.asarray(buffer) for buffer in audio_buffers], sample_rate)

    def compute_similarity(self, embedding1: ArrayLike, embedding2: ArrayLike) -> float:
        """Cosine of two vectors, clipped to [0, 1]; 0 where one of them is zero.

        Raises:
            OptionError: they are not two vectors of one length.
        """
        first, second = _vector(embedding1), _vector(embedding2)
        if first.shape != second.shape:
            raise OptionError(f"Vectors of {first.size} and {second.size} numbers cannot be compared.")
        lengths = float(np.linalg.norm(first) * np.linalg.norm(second))
        return float(np.clip(first @ second / lengths, 0.0, 1.0)) if lengths > 0 else 0.0

    def compute_distance(self, embedding1: ArrayLike, embedding2: ArrayLike) -> float:
        """1 minus `compute_similarity`."""
        return 1.0 - self.compute_similarity(embedding1, embedding2)


def _vector(values: ArrayLike) -> NDArray[np.float64]:
    found: NDArray[Any] = np.asarray(values)
    if found.ndim != 1 or found.dtype.kind not in "fiu":
        raise OptionError(f"A vector of numbers was expected; got {found.dtype} of shape {list(found.shape)}.")
    return found.astype(np.float64)


def checked_bundle(path: str | os.PathLike[str]) -> None:
    """Says what to do with a checkpoint, where the original takes one and this takes a bundle.

    Raises:
        OptionError: the path is a file.
    """
    if not is_address(path) and os.path.isfile(path):  # noqa: PTH113 - any kind of path
        raise OptionError(
            f"{path} is a file; this runs bundles. Make one of it: claprt-export --checkpoint {path} --out FOLDER, "
            "then give the folder."
        )


def _loaded(path: str | os.PathLike[str] | None, device: str | None, precision: str | None) -> Clap:
    path = path or os.environ.get(CHECKPOINT_VARIABLE) or None
    device = device or os.environ.get(DEVICE_VARIABLE) or None
    kind = None if device is None else str(device).partition(":")[0]
    if kind not in _PROVIDERS:
        raise OptionError(f"device={device!r} is not known; give cpu, cuda, or None for the best there is.")
    if path is not None:
        checked_bundle(path)
    if is_address(path):
        return load(path, precision=precision, preprocess="kromosynth")
    return load(path, provider=_PROVIDERS[kind], precision=precision, preprocess="kromosynth")
