"""A published checkpoint: recognised from its weights, and checked name by name and shape by shape."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from claprt.bundle.digests import sha256_of
from claprt.bundle.manifest import MAX_LOGIT_SCALE, MelSpec
from claprt.bundle.metadata import escape_controls
from claprt_export.architecture import AudioArchitecture, TextArchitecture
from claprt_export.checkpoints.detect_architecture import audio_architecture, text_architecture
from claprt_export.checkpoints.state_dict import read_weights, weight_file
from claprt_export.checkpoints.stored_constants import check_stored_constants
from claprt_export.checkpoints.weight_names import NOT_NEEDED, Weights, canonical, is_transformers_layout, other_model
from claprt_export.errors import CheckpointError
from claprt_export.towers import AudioTower, TextTower, freeze

_JSON_BYTES = 4_000_000
INITIAL_LOGIT_SCALE = 1 / 0.07
"""exp(logit_scale) before training."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """Weights under canonical names, and what was read from them and from the files beside them."""

    name: str
    layout: Literal["laion", "transformers", "seeded"]
    sha256: str
    weights: Weights
    audio: AudioArchitecture
    text: TextArchitecture
    mel: MelSpec
    fill: Literal["repeatpad", "repeat", "pad"] = "repeatpad"
    folder: Path | None = None
    """Where a tokenizer may lie beside the weights."""
    half: bool = False
    """Whether all weights came in float16, scalars aside."""

    @property
    def logit_scales(self) -> tuple[float, float]:
        """exp(logit_scale_a) and exp(logit_scale_t).

        Raises:
            CheckpointError: If a scale is not one that training leaves.
        """
        try:
            scales = math.exp(self.weights["logit_scale_a"].item()), math.exp(self.weights["logit_scale_t"].item())
        except OverflowError as error:
            raise CheckpointError(f"{self.name} has logit scales that no training leaves: {error}.") from error
        if not all(1e-6 <= scale <= MAX_LOGIT_SCALE for scale in scales):
            raise CheckpointError(f"{self.name} has logit scales that no training leaves: {scales[0]:g} and {scales[1]:g}.")
        return scales

    @property
    def trained(self) -> bool:
        """Whether the logit scale has left the value that CLIP and CLAP begin with."""
        return abs(self.logit_scales[0] - INITIAL_LOGIT_SCALE) > 1e-3

    def audio_tower(self) -> AudioTower:
        """The audio tower with these weights, ready for inference."""
        with torch.device("meta"), _Uninitialised():
            tower = AudioTower(self.audio)
        return _filled(tower, self.weights)

    def text_tower(self) -> TextTower:
        """The text tower with these weights, ready for inference."""
        with torch.device("meta"), _Uninitialised():
            tower = TextTower(self.text)
        return _filled(tower, self.weights)


class _Uninitialised(TorchFunctionMode):
    """Leaves weights without their initial values, which on the device `meta` would import all of torch's compiler."""

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__module__", None) == nn.init.__name__:
            return args[0] if args else kwargs["tensor"]
        return func(*args, **kwargs)


def read_checkpoint(path: Path, name: str | None = None) -> Checkpoint:
    """Read a LAION `.pt` file, a transformers folder, or the weight file of one.

    Args:
        path: the file or folder.
        name: what to call it; by default the file's or folder's own name.

    Raises:
        CheckpointNotFoundError: there is nothing at the path, or a folder without weights.
        CheckpointError: it cannot be read safely, or is not a CLAP with HTSAT and RoBERTa, whole and in shape.
    """
    file = weight_file(path)
    stored = read_weights(file)
    weights = canonical(stored)
    folder = path if path.is_dir() else None
    config = _read_json(path / "config.json") if folder else {}
    audio, text = _architectures(file, weights, config)
    checkpoint = Checkpoint(
        name=escape_controls(name or (path.name if folder else path.stem)),
        layout="transformers" if is_transformers_layout(stored) else "laion",
        sha256=sha256_of(file),
        weights={key: _as_float32(tensor) for key, tensor in weights.items()},
        audio=audio,
        text=text,
        mel=_mel_spec(path, audio),
        fill=_fill(path),
        folder=folder,
        half=all(
            tensor.dtype == torch.float16
            for key, tensor in weights.items()
            if tensor.ndim and not NOT_NEEDED.fullmatch(key)
        ),
    )
    check_weights(checkpoint)
    return checkpoint


def check_weights(checkpoint: Checkpoint) -> None:
    """Compare the checkpoint's names and shapes with what the two towers need, and its constants with their definition.

    Raises:
        CheckpointError: something is missing, unexpected, of another shape, or defined otherwise.
    """
    try:
        with torch.device("meta"), _Uninitialised():
            towers: tuple[nn.Module, ...] = (AudioTower(checkpoint.audio), TextTower(checkpoint.text))
    except (ArithmeticError, IndexError, RuntimeError, ValueError) as error:
        raise CheckpointError(f"{checkpoint.name} has weights of sizes that no CLAP has: {error}.") from error
    needed = {
        name: tuple(tensor.shape)
        for tower in towers
        for name, tensor in tower.state_dict().items()
        if not NOT_NEEDED.fullmatch(name)
    } | {"logit_scale_a": (), "logit_scale_t": ()}
    have = {name: tuple(tensor.shape) for name, tensor in checkpoint.weights.items()}
    missing = sorted(needed.keys() - have.keys())
    unexpected = sorted(name for name in have.keys() - needed.keys() if not NOT_NEEDED.fullmatch(name))
    reshaped = sorted(f"{name} {have[name]}, not {needed[name]}" for name in needed.keys() & have.keys()
                      if have[name] != needed[name])  # fmt: skip
    if missing or unexpected or reshaped:
        raise CheckpointError(
            f"{checkpoint.name} was recognised as {checkpoint.audio.name} with {checkpoint.text.name}, and its weights do "
            f"not fit that: {_listed('missing', missing)}; {_listed('unexpected', unexpected)}; "
            f"{_listed('of another shape', reshaped)}. Export the published file, or retrain with LAION's own names."
        )
    check_stored_constants(checkpoint.name, checkpoint.weights, checkpoint.audio, checkpoint.mel)


def _listed(what: str, names: list[str]) -> str:
    shown = ", ".join(names[:6]) + (f" and {len(names) - 6} more" if len(names) > 6 else "")
    return f"{len(names)} {what}" + (f" ({shown})" if names else "")


def _as_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _architectures(file: Path, weights: Weights, config: dict[str, Any]) -> tuple[AudioArchitecture, TextArchitecture]:
    what = other_model(weights)
    if what is not None:
        raise CheckpointError(f"{file} cannot be exported: {what}.")
    try:
        return audio_architecture(weights, config), text_architecture(weights, config)
    except KeyError as error:
        raise CheckpointError(
            f"{file} is not a CLAP with HTSAT and RoBERTa: it has no weight {error}. Its first names are "
            f"{', '.join(list(weights)[:4])}."
        ) from error
    except (IndexError, TypeError, AttributeError, ArithmeticError) as error:
        raise CheckpointError(f"{file} has weights or a config.json of shapes that no CLAP has: {error}.") from error


_FRONT_END = {
    "sampling_rate": 48_000,
    "fft_window_size": 1024,
    "hop_length": 480,
    "feature_size": 64,
    "max_length_s": 10,
    "top_db": None,
}


def _mel_spec(path: Path, audio: AudioArchitecture) -> MelSpec:
    """LAION's front end; a transformers folder may state another range of frequencies.

    Raises:
        CheckpointError: If `preprocessor_config.json` states another front end.
    """
    stated = _read_json(path / "preprocessor_config.json") if path.is_dir() else {}
    for key, known in _FRONT_END.items():
        if stated.get(key, known) != known:
            raise CheckpointError(
                f"{path / 'preprocessor_config.json'} states {key} = {stated[key]!r}; this exporter knows {known!r} only."
            )
    try:
        return MelSpec(
            mels=audio.mels,
            f_min=float(stated.get("frequency_min", 50)),
            f_max=float(stated.get("frequency_max", 14_000)),
            scale="htk" if audio.fused else "slaney",
            norm="none" if audio.fused else "slaney",
        )
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{path / 'preprocessor_config.json'} states no usable front end: {error}") from error


def _fill(path: Path) -> Any:
    stated = _read_json(path / "preprocessor_config.json") if path.is_dir() else {}
    fill = stated.get("padding", "repeatpad")
    if fill not in ("repeatpad", "repeat", "pad"):
        raise CheckpointError(f"{path / 'preprocessor_config.json'} states padding {fill!r}, which is not known.")
    return fill


def _read_json(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    if (size := path.stat().st_size) > _JSON_BYTES:
        raise CheckpointError(f"{path} has {size} bytes, and a configuration has {_JSON_BYTES} at most.")
    try:
        content = json.loads(path.read_bytes())
    except RecursionError as error:
        raise CheckpointError(f"{path} is nested deeper than any configuration.") from error
    except ValueError as error:
        raise CheckpointError(f"{path} is not JSON: {error}") from error
    return content if isinstance(content, dict) else {}


Tower = TypeVar("Tower", bound=nn.Module)


def _filled(tower: Tower, weights: Weights) -> Tower:
    wanted = {name: weights[name] for name in tower.state_dict() if not name.endswith("num_batches_tracked")}
    counters = {name: torch.zeros((), dtype=torch.long) for name in tower.state_dict() if name not in wanted}
    tower.load_state_dict(wanted | counters, strict=True, assign=True)
    freeze(tower)
    return tower


def digest_of_weights(weights: Weights) -> str:
    """sha256 over names and values, for weights that came from no file."""
    digest = hashlib.sha256()
    for name in sorted(weights):
        digest.update(name.encode())
        digest.update(weights[name].contiguous().numpy().tobytes())
    return digest.hexdigest()
