"""HTSAT as an export-friendly torch module: log-mels in, unit vectors out.

Parameters carry the names of LAION's checkpoints, so published weights load strictly and weights trained here save in
LAION's layout. The arithmetic is LAION's too, rearranged where that costs nothing in exactness: tokens stay in window
order (`order.py`), activations are two-dimensional so that every linear layer is one Gemm, the bicubic resize is a
constant matrix, and what does not reach the embedding (token-semantic head, frame-wise outputs) is left out. No Python
branch depends on data and no size depends on the batch.

Reference: `laion_clap/clap_module/htsat.py` of laion-clap 1.1.7.
"""

from __future__ import annotations

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from claprt_export.architecture import AudioArchitecture
from claprt_export.towers import window_order
from claprt_export.towers.folding import QKV, Folding, normalisation, query_key_value
from claprt_export.towers.fusion import AttentionalFusion
from claprt_export.towers.window_order import Grid


class WindowAttention(Folding):
    """Multi-head attention inside windows, with a relative-position bias and, when shifted, a mask."""

    folded_names = (*QKV, "scores")

    def __init__(self, *, dim: int, heads: int, window: int, grid: Grid, shifted: bool) -> None:
        """Allocate the weights.

        Args:
            dim: width of a token.
            heads: of attention.
            window: side of a window in tokens.
            grid: rows and columns of tokens.
            shifted: whether windows are shifted by half their side.
        """
        super().__init__()
        extent = window_order.window_of(grid, window)
        self.dim, self.heads, self.tokens = dim, heads, extent[0] * extent[1]
        self.windows = grid[0] * grid[1] // self.tokens if shifted else 1
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.qkv = nn.Linear(dim, 3 * dim)
        self.proj = nn.Linear(dim, dim)
        self.position_index: Tensor
        self.register_buffer(
            "position_index",
            torch.from_numpy(window_order.relative_position_index(window, extent)).flatten(),
            persistent=False,
        )
        self.mask: Tensor | None
        mask = torch.from_numpy(window_order.shift_mask(grid, window)) if shifted else None
        self.register_buffer("mask", mask, persistent=False)

    def fold(self) -> tuple[Tensor, ...]:
        """Scale folded into the query; bias and mask added into one [windows, heads, tokens, tokens] constant."""
        scale = (self.dim // self.heads) ** -0.5
        bias = self.relative_position_bias_table[self.position_index]
        scores = bias.view(self.tokens, self.tokens, self.heads).permute(2, 0, 1)[None]
        if self.mask is not None:
            scores = scores + self.mask[:, None]
        return *query_key_value(self.qkv.weight.chunk(3), self.qkv.bias.chunk(3), scale), scores

    def forward(self, x: Tensor) -> Tensor:
        """[batch · tokens of the stage, dim] in (shifted) window order, to the same."""
        *weights_and_biases, scores = self.folded()
        query, key, value = (
            F.linear(x, weight, bias).view(-1, self.windows, self.tokens, self.heads, self.dim // self.heads)
            for weight, bias in zip(weights_and_biases[:3], weights_and_biases[3:], strict=True)
        )
        query, key, value = query.transpose(2, 3), key.permute(0, 1, 3, 4, 2), value.transpose(2, 3)
        attention = torch.softmax(query @ key + scores, dim=-1)
        mixed = (attention @ value).transpose(2, 3).reshape(-1, self.dim)
        return self.proj(mixed)


class Mlp(nn.Module):
    """Two linear layers with an exact (erf) GELU between them."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1 = nn.Linear(dim, 4 * dim)
        self.fc2 = nn.Linear(4 * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """[batch · tokens, dim] to the same."""
        return self.fc2(F.gelu(self.fc1(x)))


class SwinBlock(nn.Module):
    """One transformer block; every second block of a stage attends in windows shifted by half a window."""

    def __init__(self, *, dim: int, heads: int, window: int, grid: Grid, shifted: bool) -> None:
        """Allocate the weights.

        Args:
            dim: width of a token.
            heads: of attention.
            window: side of a window in tokens.
            grid: rows and columns of tokens.
            shifted: whether windows are shifted by half their side.
        """
        super().__init__()
        self.area, self.dim = grid[0] * grid[1], dim
        self.norm1 = nn.LayerNorm(dim)
        self.attn = WindowAttention(dim=dim, heads=heads, window=window, grid=grid, shifted=shifted)
        self.norm2 = nn.LayerNorm(dim)
        self.mlp = Mlp(dim)
        self.shifted: Tensor | None
        self.restored: Tensor | None
        rolled = torch.from_numpy(window_order.shift_order(grid, window)) if shifted else None
        self.register_buffer("shifted", rolled, persistent=False)
        self.register_buffer("restored", None if rolled is None else rolled.argsort(), persistent=False)

    def _gather(self, x: Tensor, index: Tensor | None) -> Tensor:
        if index is None:
            return x
        return x.view(-1, self.area, self.dim).index_select(1, index).view(-1, self.dim)

    def forward(self, x: Tensor) -> Tensor:
        """[batch · tokens, dim] in window order to the same."""
        # gathered before the normalisation, which is the same and puts it next to the linear layer: OpenVINO 2026.4 takes
        # a normalisation's scale for one of int8 and moves it across a gather in between, into the wrong places
        attended = self.attn(self.norm1(self._gather(x, self.shifted)))
        x = x + self._gather(attended, self.restored)
        return x + self.mlp(self.norm2(x))


class PatchMerging(nn.Module):
    """Joins 2 x 2 neighbours into one token of twice the channels."""

    def __init__(self, *, dim: int, window: int, grid: Grid) -> None:
        super().__init__()
        self.dim, self.area = dim, grid[0] * grid[1]
        self.reduction = nn.Linear(4 * dim, 2 * dim, bias=False)
        self.norm = nn.LayerNorm(4 * dim)
        self.joined: Tensor
        self.register_buffer("joined", torch.from_numpy(window_order.merge_order(grid, window)), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """[batch · tokens, dim] to [batch · tokens / 4, 2 · dim], both in window order."""
        x = x.view(-1, self.area, self.dim).index_select(1, self.joined)
        return self.reduction(self.norm(x.view(-1, 4 * self.dim)))


class Stage(nn.Module):
    """The blocks of one resolution and the merging that follows them."""

    def __init__(self, architecture: AudioArchitecture, index: int, bands: int) -> None:
        super().__init__()
        dim, window = architecture.embed_dim * 2**index, min(architecture.window, architecture.side // 2**index)
        rows, columns = architecture.grid(bands)
        grid = rows // 2**index, columns // 2**index
        shifts = any(window_order.shift_of(grid, window))
        self.blocks = nn.ModuleList(
            SwinBlock(dim=dim, heads=architecture.heads[index], window=window, grid=grid, shifted=shifts and block % 2 == 1)
            for block in range(architecture.depths[index])
        )
        last = index == len(architecture.depths) - 1
        self.downsample = None if last else PatchMerging(dim=dim, window=window, grid=grid)

    def forward(self, x: Tensor) -> Tensor:
        """[batch · tokens, dim] to what the next stage takes."""
        for block in self.blocks:
            x = block(x)
        return x if self.downsample is None else self.downsample(x)


class PatchEmbedding(nn.Module):
    """Cuts the image into patches, each one token; mixes in the local views of long clips where the tower is fused."""

    def __init__(self, architecture: AudioArchitecture, bands: int) -> None:
        super().__init__()
        self.architecture, self.bands = architecture, bands
        dim, patch = architecture.embed_dim, architecture.patch
        self.proj = nn.Conv2d(1, dim, kernel_size=patch, stride=patch)
        self.norm = nn.LayerNorm(dim)
        if architecture.fused:
            self.mel_conv2d = nn.Conv2d(1, dim, kernel_size=(patch, 3 * patch), stride=(patch, 3 * patch))
            self.fusion_model = AttentionalFusion(dim)

    def forward(self, image: Tensor, is_longer: Tensor | None) -> Tensor:
        """[batch, views, time, mels] (time already resized) to [batch · tokens, embed_dim] in window order."""
        tokens = self._global_tokens(image[:, 0])
        if is_longer is not None:
            tokens = self.fusion_model(tokens, self._local_tokens(image[:, 1:]), is_longer)
        return self.norm(tokens)

    def _global_tokens(self, view: Tensor) -> Tensor:
        a = self.architecture
        columns, rows = a.side // a.window, a.mels // a.patch // a.window
        x = view.view(-1, self.bands, columns, a.window, a.patch, rows, a.window, a.patch)
        # batch, band, window row, window column, row, column, then the patch itself as the kernel sees it: mel, time
        x = x.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(-1, a.patch * a.patch)
        return F.linear(x, self.proj.weight.flatten(1), self.proj.bias)

    def _local_tokens(self, views: Tensor) -> Tensor:
        a = self.architecture
        wide, rows = 3 * a.patch, a.mels // a.patch
        columns = a.image // wide  # of one view; what is left of its time axis is not used, as in the reference
        x = views.view(-1, 3, self.bands, a.image, a.mels)[:, :, :, : columns * wide]
        x = x.reshape(-1, 3, self.bands, columns, wide, rows, a.patch)
        x = x.permute(0, 2, 5, 1, 3, 6, 4).reshape(-1, a.patch * wide)
        x = F.linear(x, self.mel_conv2d.weight.flatten(1), self.mel_conv2d.bias)
        height, width = a.grid(self.bands)
        x = x.view(-1, height, 3 * columns, a.embed_dim)
        x = F.pad(x, (0, 0, 0, width - 3 * columns))
        x = x.view(-1, height // a.window, a.window, width // a.window, a.window, a.embed_dim)
        return x.transpose(2, 3).reshape(-1, a.embed_dim)


@cache
def resize_matrix(frames: int, resized: int) -> Tensor:
    """The bicubic resize (align_corners) of the time axis as a float32 matrix [resized, frames], not to be altered.

    Made in float32 because the reference resizes in float32: positions near 1000 are rounded by up to 3e-5 there, and the
    same rounding belongs into the matrix.
    """
    with torch.inference_mode(mode=False):  # it is kept, and may be trained with next
        identity = torch.eye(frames, device="cpu")[None, None]
        return F.interpolate(identity, size=(resized, frames), mode="bicubic", align_corners=True)[0, 0]


class AudioBranch(Folding):
    """HTSAT without its heads: log-mels [batch, views, frames, mels] in dB to [batch, output_dim]."""

    folded_names = ("bn0_scale", "bn0_shift")

    def __init__(self, architecture: AudioArchitecture, frames: int, bands: int) -> None:
        super().__init__()
        self.architecture = architecture
        self.bn0 = nn.BatchNorm2d(architecture.mels)
        self.patch_embed = PatchEmbedding(architecture, bands)
        self.layers = nn.ModuleList(Stage(architecture, index, bands) for index in range(len(architecture.depths)))
        self.norm = nn.LayerNorm(architecture.output_dim)
        self.resize: Tensor
        self.register_buffer("resize", resize_matrix(frames, architecture.image * bands), persistent=False)
        last = 2 ** (len(architecture.depths) - 1)
        rows, columns = architecture.grid(bands)
        self.area = (rows // last) * (columns // last)

    def fold(self) -> tuple[Tensor, ...]:
        """Batch normalisation with its running statistics, as one scale and one shift for each mel bin."""
        return normalisation(self.bn0)

    def forward(self, log_mels: Tensor, is_longer: Tensor | None) -> Tensor:
        """The pooled state, before projection."""
        scale, shift = self.folded()
        image = self.resize @ (log_mels * scale + shift)
        tokens = self.patch_embed(image, is_longer)
        for layer in self.layers:
            tokens = layer(tokens)
        return self.norm(tokens).view(-1, self.area, self.architecture.output_dim).mean(1)


def projection(inputs: int, joint: int) -> nn.Sequential:
    """The head that both towers end in, named as in LAION's checkpoints (`0` and `2`)."""
    return nn.Sequential(nn.Linear(inputs, joint), nn.ReLU(), nn.Linear(joint, joint))


class AudioTower(nn.Module):
    """Log-mels [batch, views, frames, mels] in dB to unit vectors [batch, joint_dim].

    A fused tower takes four views and `is_longer` [batch, 1], True for the clips whose local views count.

    Args:
        architecture: the sizes.
        frames: of a log-mel.
        bands: stretches of time that make up the image; fewer than the architecture's for shorter clips, in training.
    """

    def __init__(self, architecture: AudioArchitecture, *, frames: int = 1001, bands: int | None = None) -> None:
        super().__init__()
        self.architecture = architecture
        self.audio_branch = AudioBranch(architecture, frames, architecture.bands if bands is None else bands)
        self.audio_projection = projection(architecture.output_dim, architecture.joint_dim)

    def forward(self, log_mels: Tensor, is_longer: Tensor | None = None) -> Tensor:
        """The unit vectors."""
        return F.normalize(self.audio_projection(self.audio_branch(log_mels, is_longer)), dim=-1)
