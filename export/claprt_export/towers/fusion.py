"""Attentional feature fusion, the part of a fused tower that mixes local views into the global one.

Reference: `AFF` (type 2D) in `laion_clap/clap_module/feature_fusion.py` of laion-clap 1.1.7; Dai et al. 2021,
arXiv:2009.14082.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claprt_export.towers.folding import Folding, normalisation


class PointwisePair(Folding):
    """Two 1 x 1 convolutions with batch normalisation and a ReLU between, as two linear layers on tokens.

    The layers are numbered as in LAION's checkpoints: `first` is the index of the first convolution.
    """

    folded_names = ("down_weight", "down_bias", "up_weight", "up_bias")

    def __init__(self, dim: int, reduced: int, *, first: int) -> None:
        super().__init__()
        self.first = first
        self.add_module(str(first), nn.Conv2d(dim, reduced, kernel_size=1))
        self.add_module(str(first + 1), nn.BatchNorm2d(reduced))
        self.add_module(str(first + 3), nn.Conv2d(reduced, dim, kernel_size=1))
        self.add_module(str(first + 4), nn.BatchNorm2d(dim))

    def fold(self) -> tuple[Tensor, ...]:
        """Each convolution and its normalisation as one weight [out, in, 1, 1] and one bias [out]."""
        return (*self._fold_pair(self.first), *self._fold_pair(self.first + 3))

    def _fold_pair(self, index: int) -> tuple[Tensor, Tensor]:
        convolution, norm = self.get_submodule(str(index)), self.get_submodule(str(index + 1))
        weight, bias = convolution.get_parameter("weight"), convolution.get_parameter("bias")
        scale, shift = normalisation(cast("nn.BatchNorm2d", norm))
        return weight.flatten(1) * scale[:, None], bias * scale + shift

    def forward(self, x: Tensor) -> Tensor:
        """[…, dim] to the same."""
        down_weight, down_bias, up_weight, up_bias = self.folded()
        return F.linear(F.relu(F.linear(x, down_weight, down_bias)), up_weight, up_bias)


class AttentionalFusion(nn.Module):
    """Weighs global against local tokens, by a gate that sees each token and the mean of all."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim
        self.local_att = PointwisePair(dim, dim // 4, first=0)
        self.global_att = PointwisePair(dim, dim // 4, first=1)

    def forward(self, tokens: Tensor, local: Tensor, is_longer: Tensor) -> Tensor:
        """[batch · tokens, dim] twice and [batch, 1]; clips that are not longer keep their global tokens unchanged."""
        batch = is_longer.shape[0]
        together = tokens + local
        overall = self.global_att(together.view(batch, -1, self.dim).mean(1))
        gate = torch.sigmoid(self.local_att(together).view(batch, -1, self.dim) + overall[:, None])
        x, y = tokens.view(batch, -1, self.dim), local.view(batch, -1, self.dim)
        fused = 2 * x * gate + 2 * y * (1 - gate)
        return torch.where(is_longer[:, :, None], fused, x).view(-1, self.dim)
