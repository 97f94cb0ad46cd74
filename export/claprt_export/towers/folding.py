"""Constants derived from weights: computed afresh while training, computed once for inference."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn


class Folding(nn.Module):
    """A module whose forward pass needs constants derived from its parameters.

    `fold` derives them. `freeze` stores what it gives as buffers, so that an exported graph holds the constants
    themselves and not the arithmetic that makes them.
    """

    folded_names: ClassVar[tuple[str, ...]]

    def fold(self) -> tuple[Tensor, ...]:
        """Compute the constants, tensors [...] in the order of `folded_names`."""
        raise NotImplementedError

    def folded(self) -> tuple[Tensor, ...]:
        """The stored constants, tensors [...], where the module is frozen; computed ones otherwise."""
        if self.folded_names[0] in self._buffers:
            return tuple(self.get_buffer(name) for name in self.folded_names)
        return self.fold()


QKV = ("query_weight", "key_weight", "value_weight", "query_bias", "key_bias", "value_bias")
"""Names of what `query_key_value` gives. Three products instead of one of three times the width: nothing to be split and
moved afterwards, which costs a CPU more than the wider product gains."""


def query_key_value(weights: Sequence[Tensor], biases: Sequence[Tensor], scale: float) -> tuple[Tensor, ...]:
    """Weights [out, in] and biases [out] of query, key and value, the query's multiplied by the scale of attention."""
    return weights[0] * scale, *weights[1:], biases[0] * scale, *biases[1:]


def normalisation(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Scale and shift [channels] that a batch normalisation amounts to with its running statistics."""
    mean, variance = norm.get_buffer("running_mean"), norm.get_buffer("running_var")
    scale = norm.weight * torch.rsqrt(variance + norm.eps)
    return scale, norm.bias - mean * scale


@torch.no_grad()
def freeze(tower: nn.Module) -> nn.Module:
    """Put a tower into inference mode: derived constants stored, no gradients, running statistics used."""
    for module in tower.modules():
        if isinstance(module, Folding):
            for name, tensor in zip(module.folded_names, module.fold(), strict=True):
                # a copy: torch.export cannot trace a constant that is also a parameter
                module.register_buffer(name, tensor.detach().clone().contiguous(), persistent=False)
    return tower.eval().requires_grad_(False)
