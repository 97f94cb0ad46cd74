"""The weights in a file, read without running anything that the file may hold."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from claprt.bundle.manifest import MANIFEST_FILE
from claprt.checkpoints.checkpoint_file import checkpoint_fault
from claprt_export.checkpoints.pickle_check import DTYPE, NUMBERS, SCALARS, check_pickles
from claprt_export.checkpoints.weight_names import Weights
from claprt_export.errors import CheckpointError, CheckpointNotFoundError

_HEADER_BYTES = 4_000_000
_WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")


def weight_file(path: Path) -> Path:
    """The file that holds the weights: the path itself, or the known one of a folder.

    Raises:
        CheckpointNotFoundError: there is none.
    """
    if path.is_dir():
        for name in _WEIGHT_FILES:
            if (path / name).is_file():
                return path / name
        if (path / MANIFEST_FILE).is_file():
            raise CheckpointNotFoundError(
                f"{path} is a bundle already, which claprt.load takes; name a checkpoint to export."
            )
        raise CheckpointNotFoundError(
            f"{path} is a folder without {' or '.join(_WEIGHT_FILES)}. Give a LAION .pt file, or a folder that "
            "ClapModel.save_pretrained wrote."
        )
    if not path.is_file():
        raise CheckpointNotFoundError(f"A checkpoint was asked for at {path}, and there is no such file.")
    return path


def read_weights(file: Path) -> Weights:
    """The state dict of a file, under the names it has there.

    Raises:
        CheckpointError: it is not a checkpoint, or holds more than tensors and plain values.
    """
    fault = checkpoint_fault(file)
    if fault is not None:
        raise CheckpointError(f"{file} is not a checkpoint, or not a whole one: {fault}")
    content = _read_safetensors(file) if file.suffix == ".safetensors" else read_pickle(file)
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not _is_state_dict(content):
        raise CheckpointError(f"{file} holds no state_dict of weights; it is not a CLAP checkpoint.")
    return content


def _is_state_dict(content: object) -> bool:
    return (
        isinstance(content, dict)
        and bool(content)
        and all(isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items())
    )


def _read_safetensors(file: Path) -> dict[Any, Any]:
    import safetensors.torch

    with file.open("rb") as stream:
        header = int.from_bytes(stream.read(8), "little")
    if header > _HEADER_BYTES:
        raise CheckpointError(
            f"{file} cannot be read: it states a header of {header} bytes, and a CLAP needs less than {_HEADER_BYTES}."
        )
    try:
        return safetensors.torch.load_file(file)
    except Exception as error:  # its errors have no common parent but Exception
        raise CheckpointError(f"{file} cannot be read: {error}") from error


def read_pickle(file: Path) -> Any:
    """Unpickle tensors and plain values only: nothing in the file is run, and no more is allocated than it has bytes for.

    Raises:
        CheckpointError: it is not a checkpoint, or holds more than that.
    """
    try:
        check_pickles(file)
        with torch.serialization.safe_globals(_numpy_scalars()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols, which the outcome speaks for
            return torch.load(file, map_location="cpu", weights_only=True, mmap=_is_zip(file))
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n")[0]
        raise CheckpointError(
            f"{file} is not loaded, because it is not a checkpoint or holds more than tensors, and unpickling that could "
            f"run code: {reason} If you trust it, load it yourself and save its state_dict with torch.save."
        ) from error
    except Exception as error:  # a damaged pickle leads to nearly any
        raise CheckpointError(
            f"{file} is not a checkpoint, or not a whole one: {_in_words(error)}. Compare its size with that of the "
            "original, and copy or download it again."
        ) from error


def _in_words(error: Exception) -> str:
    """What an error says, where it is more than a number or a name that only its author understands."""
    said = " ".join(str(error).split())
    if isinstance(error, LookupError) or len(said.split()) < 3:
        return f"it is damaged, and reading it failed with {type(error).__name__}" + (f" ({said:.80})" if said else "")
    return f"{said:.300}".rstrip(". ")


def _is_zip(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(2) == b"PK"


class _Dtype:
    """Stands in for `numpy.dtype`, which would make any that a file describes: only those of plain numbers are known."""

    def __init__(self, name: object, *_: object) -> None:
        if name not in NUMBERS:
            raise pickle.UnpicklingError(f"it holds numbers of the type {name!r:.40}.")
        self.numpy = np.dtype(str(name))

    def __setstate__(self, state: object) -> None:
        """Leave the type as it is."""


def _scalar(dtype: object, content: object) -> Any:
    """Stand in for what numpy pickles a single number as.

    Raises:
        UnpicklingError: If the content is not one number of the dtype.
    """
    if isinstance(content, str):
        content = content.encode("latin-1")
    if not isinstance(dtype, _Dtype) or not isinstance(content, bytes) or len(content) != dtype.numpy.itemsize:
        raise pickle.UnpicklingError("it holds a number of numpy that is none.")
    return np.frombuffer(content, dtype.numpy)[0]


def _numpy_scalars() -> list[Any]:
    """What LAION's files hold beside tensors: numpy scalars, in the names that numpy 1 and 2 pickle them under."""
    return [(_Dtype, DTYPE), *((_scalar, name) for name in SCALARS)]
