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
from claprt.bundle.address import is_address
from claprt.engines.providers import ON_GPU, Provider
from claprt.errors import AudioShapeError, AudioTypeError, OptionError
from claprt.model.clap import Clap
from claprt.model.load import load

CHECKPOINT_VARIABLE = "CLAP_CHECKPOINT_PATH"
DEVICE_VARIABLE = "CLAP_DEVICE"
_PROVIDERS = frozenset({"auto", *map(str, Provider)})


class CLAPExtractor:
    """kromosynth's extractor, with the same methods and attributes."""

    def __init__(
        self,
        checkpoint_path: str | os.PathLike[str] | None = None,
        device: object = None,
        enable_fusion: bool = False,
        amodel: str | None = None,
        *,
        precision: str | None = None,
        model: Clap | None = None,
    ) -> None:
        """Load the model.

        Args:
            checkpoint_path: The original's `.pt` file, or anything else that `claprt.load` takes; by default what
                `CLAP_CHECKPOINT_PATH` or `CLAPRT_BUNDLE` names, else the small model in the package.
            device: `cpu`, `cuda` (or `cuda:0`, 0, or a `torch.device`), or None for the best available; by default what
                `CLAP_DEVICE` names.
            enable_fusion: Whether the checkpoint is fused; must match it.
            amodel: The audio architecture (`HTSAT-tiny`, `HTSAT-base`); must match the checkpoint if given.
            precision: As in `claprt.load`.
            model: A model loaded with `preprocess="kromosynth"`, instead of the arguments above.

        Raises:
            OptionError: If the arguments do not fit the model.
            BundleError: If there is no such model, or a checkpoint cannot be exported.
            ProviderUnavailableError: If the device is not available.
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
        self.device = "cuda" if self.model.provider in ON_GPU else "cpu"
        """`cuda` or `cpu`: where it runs."""
        self.target_sample_rate = self.model.sample_rate
        """Sample rate of the model in Hz: 48000."""

    def extract_embedding(self, audio_buffer: ArrayLike, sample_rate: int) -> Embedding:
        """Embed a sound.

        Args:
            audio_buffer: [samples], [2, samples] or [samples, 2] of any numeric dtype.
            sample_rate: Its rate in Hz.

        Returns:
            Unit vector [512] float32.

        Raises:
            AudioError: If it cannot be embedded.
        """
        return self.model.embed_audio(_samples(audio_buffer), sample_rate)

    def extract_batch(self, audio_buffers: Iterable[ArrayLike], sample_rate: int) -> Embeddings:
        """Embed sounds of one rate, each as `extract_embedding` does: [n, 512] float32.

        Raises:
            AudioError: If one cannot be embedded.
        """
        return self.model.embed_audio([_samples(buffer) for buffer in audio_buffers], sample_rate)

    def compute_similarity(self, embedding1: ArrayLike, embedding2: ArrayLike) -> float:
        """Compute the cosine of two vectors, clipped to [0, 1]; 0 if one of them is zero.

        Raises:
            OptionError: If they are not two vectors of one length.
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


def provider_of(device: object) -> str:
    """The provider that is meant by a device as torch names them: `cpu`, `cuda`, `cuda:0`, 0, or a `torch.device`.

    Raises:
        OptionError: it is another device, or a GPU other than the first that this process sees.
    """
    if device is None or device == "":
        return "auto"
    kind, _, index = ("cuda", ":", str(device)) if isinstance(device, int) else str(device).partition(":")
    if kind not in _PROVIDERS or isinstance(device, bool) or (index and not index.isdigit()):
        raise OptionError(f"device={device!r} is not known; give cpu, cuda, or None for the best there is.")
    if kind == "cuda" and index.lstrip("0"):
        raise OptionError(
            f"device={device!r} is another GPU than the first that this process sees. Start it with "
            f"CUDA_VISIBLE_DEVICES={index}, and give cuda."
        )
    return kind


def _loaded(path: str | os.PathLike[str] | None, device: object, precision: str | None) -> Clap:
    named = path or os.environ.get(CHECKPOINT_VARIABLE) or None
    provider = provider_of(os.environ.get(DEVICE_VARIABLE) if device is None or device == "" else device)
    if is_address(named):
        return load(named, precision=precision, preprocess="kromosynth")
    return load(named, provider=provider, precision=precision, preprocess="kromosynth")


def _samples(buffer: ArrayLike) -> NDArray[Any]:
    """A sound's samples as an array.

    Raises:
        AudioTypeError: it is a path or a file's content.
        AudioShapeError: its channels have different lengths.
    """
    if isinstance(buffer, str | os.PathLike | bytes | bytearray):
        raise AudioTypeError(
            f"The extractor takes samples, and {type(buffer).__name__} was given. For files, "
            "`extractor.model.embed_audio(path)` gives the same vectors."
        )
    try:
        return np.asarray(buffer)
    except ValueError as error:
        raise AudioShapeError(f"Channels of one length were expected; numpy says: {error}.") from error
