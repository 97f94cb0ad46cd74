"""The weights in a file, read without running anything that the file may hold."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from claprt_export.errors import CheckpointError, CheckpointNotFoundError
from claprt_export.naming import Weights

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
        CheckpointError: it is no checkpoint, or holds more than tensors and plain values.
    """
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

    try:
        return safetensors.torch.load_file(file)
    except Exception as error:  # its errors have no common parent but Exception
        raise CheckpointError(f"{file} cannot be read: {error}") from error


def read_pickle(file: Path) -> Any:
    """Unpickles tensors and plain values only: nothing in the file is run.

    Raises:
        CheckpointError: it is no checkpoint, or holds more than that.
    """
    try:
        with torch.serialization.safe_globals(_numpy_scalars()), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about pickle protocols, which the outcome speaks for
            return torch.load(file, map_location="cpu", weights_only=True, mmap=_is_zip(file))
    except pickle.UnpicklingError as error:
        reason = str(error).split("\n")[0]
        raise CheckpointError(
            f"{file} is not loaded, because it is no checkpoint or holds more than tensors, and unpickling that could "
            f"run code: {reason} If you trust it, load it yourself and save its state_dict with torch.save."
        ) from error
    except Exception as error:  # a damaged pickle leads to nearly any
        raise CheckpointError(f"{file} is not a checkpoint, or not a whole one: {error}") from error


def _is_zip(file: Path) -> bool:
    with file.open("rb") as stream:
        return stream.read(2) == b"PK"


def _numpy_scalars() -> list[Any]:
    """What LAION's files hold beside tensors: numpy scalars, in the names that numpy 1 pickled them under."""
    scalar = np.float64(0).__reduce__()[0]
    dtypes = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64, np.int32, np.bool_)]
    return [(scalar, "numpy.core.multiarray.scalar"), (scalar, "numpy._core.multiarray.scalar"), np.dtype, *dtypes]
