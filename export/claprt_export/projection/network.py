"""The projection network and its checkpoints, in the layout that kromosynth-evaluate's trainer writes.

Such a file holds `config` and `model_state_dict`, in which the layers are numbered as they stand in one sequence: a dropout
layer counts, an activation counts, and neither has weights. Which activation it was is not in the file. Anything else in it
(optimiser, history) is of no use here.
"""

from __future__ import annotations

import operator
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from claprt.bundle.digests import sha256_of
from claprt.errors import OptionError
from claprt_export.checkpoints.state_dict import read_pickle
from claprt_export.errors import CheckpointError, CheckpointNotFoundError

ACTIVATIONS: MappingProxyType[str, type[nn.Module]] = MappingProxyType(
    {"relu": nn.ReLU, "tanh": nn.Tanh, "leaky_relu": nn.LeakyReLU}
)
ASSUMED_ACTIVATION = "relu"
"""What kromosynth's service builds, whatever the network was trained with."""

_MORE_THAN_UNTRAINED = 1.5
_MOST_LAYERS, _LARGEST_DIM = 64, 65_536
_WHOLE = ("input_dim", "hidden_dim", "output_dim", "num_hidden_layers")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProjectionConfig:
    """Sizes of a projection network, under the names of a checkpoint's `config`."""

    input_dim: int = 512
    hidden_dim: int = 128
    output_dim: int = 6
    num_hidden_layers: int = 2
    dropout: float = 0.0
    activation: str = ASSUMED_ACTIVATION

    def __post_init__(self) -> None:
        for name in _WHOLE:
            most = _MOST_LAYERS if name == "num_hidden_layers" else _LARGEST_DIM
            if not 1 <= getattr(self, name) <= most:
                raise OptionError(f"{name}={getattr(self, name)} is not possible for a projection; give 1 to {most}.")
        if not 0 <= self.dropout < 1:
            raise OptionError(f"dropout={self.dropout} is not possible for a projection; give 0 or more and less than 1.")
        if self.activation not in ACTIVATIONS:
            raise OptionError(f"activation={self.activation!r} is not known; choose {', '.join(ACTIVATIONS)}.")


class ProjectionNetwork(nn.Module):
    """Embeddings [batch, input_dim] to descriptors [batch, output_dim] in (0, 1)."""

    def __init__(self, config: ProjectionConfig) -> None:
        super().__init__()
        self.config = config
        self.net = nn.Sequential()
        widths = [config.input_dim] + [config.hidden_dim] * config.num_hidden_layers
        for before, after in pairwise(widths):
            self.net.extend([nn.Linear(before, after), ACTIVATIONS[config.activation]()])
            if config.dropout:
                self.net.append(nn.Dropout(config.dropout))
        self.net.extend([nn.Linear(widths[-1], config.output_dim), nn.Sigmoid()])

    def forward(self, embeddings: Tensor) -> Tensor:
        """Descriptors."""
        return self.net(embeddings)


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredProjection:
    """A network, and the file that it is in."""

    name: str
    sha256: str
    network: ProjectionNetwork
    activation_stated: bool = False


def read_projection(path: Path, activation: str | None = None) -> StoredProjection:
    """Read a checkpoint without running anything that it may hold.

    Args:
        path: a file that kromosynth's trainer, or `claprt-export train-projection`, wrote.
        activation: between the layers, where the file does not say; `relu` by default.

    Raises:
        CheckpointNotFoundError: there is no such file.
        CheckpointError: it is no such checkpoint, its weights do not fit its config, or they are NaN or untrained.
        OptionError: there is no such activation, or the file states another.
    """
    if not path.is_file():
        raise CheckpointNotFoundError(f"A projection's checkpoint was asked for at {path}, and there is no such file.")
    content = read_pickle(path)
    if not (isinstance(content, dict) and _is_mapping(content, "config") and _is_mapping(content, "model_state_dict")):
        raise CheckpointError(
            f"{path} is not a checkpoint of a projection: it should be a dict with config and model_state_dict, and is "
            f"{_described(content)}. (A CLAP checkpoint is exported with `claprt-export --checkpoint {path}`.)"
        )
    stated = content["config"].get("activation")
    if stated is not None and activation not in (None, stated):
        raise OptionError(f"activation={activation!r} was asked for, and {path} states {stated!r}; leave the option out.")
    config = _config(path, content["config"], stated or activation or ASSUMED_ACTIVATION)
    network = _filled(path, config, content["model_state_dict"])
    _refuse_untrained(path, network, content.get("history"))
    return StoredProjection(name=path.name, sha256=sha256_of(path), network=network, activation_stated=stated is not None)


def _is_mapping(content: dict[Any, Any], key: str) -> bool:
    return isinstance(content.get(key), dict)


def _described(content: object) -> str:
    if not isinstance(content, dict):
        return f"a {type(content).__name__}"
    keys = [str(key) for key in content]
    return f"a dict with {', '.join(keys[:5])}{' …' if len(keys) > 5 else ''}" if keys else "an empty dict"


def _config(path: Path, stated: dict[str, Any], activation: str) -> ProjectionConfig:
    try:
        whole = {name: operator.index(stated[name]) for name in _WHOLE}
        return ProjectionConfig(**whole, dropout=float(stated["dropout"]), activation=activation)
    except KeyError as error:
        raise CheckpointError(f"{path} states no {error.args[0]} in its config.") from error
    except (TypeError, ValueError) as error:  # OptionError is a ValueError
        raise CheckpointError(f"{path} has a config that no projection has: {error}") from error


def _filled(path: Path, config: ProjectionConfig, weights: dict[str, Any]) -> ProjectionNetwork:
    with torch.device("meta"):
        network = ProjectionNetwork(config)
    needed = _shapes(network)
    have = {
        str(name): tuple(tensor.shape) if isinstance(tensor, Tensor) else (type(tensor).__name__,)
        for name, tensor in weights.items()
    }
    if have != needed:
        wrong = sorted(name for name in needed.keys() | have.keys() if needed.get(name) != have.get(name))
        shown = "; ".join(f"{name} is {_shape(have.get(name))}, not {_shape(needed.get(name))}" for name in wrong[:4]) + (
            f"; and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        )
        raise CheckpointError(f"{path} has weights that do not fit its config: {shown}.{_dropout_hint(config, have)}")
    if not all(tensor.is_floating_point() and bool(torch.isfinite(tensor).all()) for tensor in weights.values()):
        raise CheckpointError(
            f"{path} has weights that are NaN, infinite or no floats: its training broke. Train it again."
        )
    network.load_state_dict({name: tensor.float() for name, tensor in weights.items()}, strict=True, assign=True)
    return network.eval().requires_grad_(False)


def _shapes(network: nn.Module) -> dict[str, tuple[Any, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def _shape(found: tuple[Any, ...] | None) -> str:
    return "missing" if found is None else f"[{', '.join(map(str, found))}]"


def _dropout_hint(config: ProjectionConfig, have: dict[str, tuple[Any, ...]]) -> str:
    """A sentence where the names are those of the same network with or without its dropout layers."""
    with torch.device("meta"):
        other = ProjectionNetwork(replace(config, dropout=0.0 if config.dropout else 0.5))
    if have != _shapes(other):
        return ""
    layers = "without dropout layers" if config.dropout else "with dropout layers"
    return f" They would fit a network {layers}, and its config says dropout={config.dropout:g}: correct that."


def _refuse_untrained(path: Path, network: ProjectionNetwork, history: object) -> None:
    epochs = history.get("epochs") if isinstance(history, dict) else None
    if epochs == 0:
        raise CheckpointError(f"{path} has trained for no epoch; its descriptors mean nothing. Train it first.")
    why = looks_untrained(network)
    if why:
        raise CheckpointError(f"{path} looks untrained: {why}. Train it first: `claprt-export train-projection --help`.")


def looks_untrained(network: ProjectionNetwork) -> str | None:
    """What says that a network is hardly more than random weights, if anything does."""
    found = spread(network)
    untrained = max(spread(_initial(network.config, seed)) for seed in range(3))
    if found >= _MORE_THAN_UNTRAINED * untrained:
        return None
    return (
        f"over unlike inputs its descriptors spread by {found:.3g}, and those of a network of its sizes with random "
        f"weights by {untrained:.3g}"
    )


def _initial(config: ProjectionConfig, seed: int) -> ProjectionNetwork:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return ProjectionNetwork(config).eval()


@torch.inference_mode()
def spread(network: ProjectionNetwork) -> float:
    """Largest standard deviation of a descriptor, over random unit vectors and those that the first layer sees best."""
    first = network.net[0]
    assert isinstance(first, nn.Linear)
    random = np.random.default_rng(0).standard_normal((256, network.config.input_dim))
    unit = torch.from_numpy((random / np.linalg.norm(random, axis=1, keepdims=True)).astype(np.float32))
    seen = torch.linalg.svd(first.weight, full_matrices=False).Vh[:32]
    return float(network(torch.cat([unit, seen, -seen])).std(dim=0).max())
