"""kromosynth-evaluate's projection network, put together from its description, and vectors to try it on."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch import nn

DIM = 512
BASE: dict[str, Any] = {"input_dim": DIM, "hidden_dim": 32, "output_dim": 6, "num_hidden_layers": 2, "dropout": 0.0}


class Original(nn.Module):
    """The network as kromosynth-evaluate describes it, put together here by hand."""

    def __init__(self, config: dict[str, Any], activation: type[nn.Module] = nn.ReLU) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise([config["input_dim"]] + [config["hidden_dim"]] * config["num_hidden_layers"]):
            layers += [nn.Linear(before, after), activation()]
            layers += [nn.Dropout(config["dropout"])] if config["dropout"] else []
        layers += [nn.Linear(config["hidden_dim"], config["output_dim"]), nn.Sigmoid()]
        self.net = nn.Sequential(*layers)

    def forward(self, embeddings: torch.Tensor) -> torch.Tensor:
        return self.net(embeddings)


def original(config: dict[str, Any] | None = None, activation: type[nn.Module] = nn.ReLU) -> Original:
    """One whose weights are as large as training makes them."""
    torch.manual_seed(3)
    network = Original(config or BASE, activation).eval()
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.mul_(4)
    return network


def unit(rows: int, seed: int = 0) -> Any:
    vectors = np.random.default_rng(seed).standard_normal((rows, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def clusters(sounds: int = 160, kinds: int = 8, seed: int = 0) -> Any:
    """Unit vectors around a few directions, as embeddings of a few kinds of sound are."""
    random = np.random.default_rng(seed)
    centres = random.standard_normal((kinds, DIM)) + 1.5 * random.standard_normal(DIM)
    vectors = centres[np.arange(sounds) % kinds] + 0.7 * random.standard_normal((sounds, DIM))
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
