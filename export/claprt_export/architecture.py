"""What a checkpoint is, read from its weights: sizes of the two towers and of the projection heads."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class AudioArchitecture:
    """Sizes of an HTSAT audio tower (Chen et al. 2022, arXiv:2202.00874)."""

    embed_dim: int
    """Channels of the first stage; each following stage doubles them."""
    depths: tuple[int, ...]
    """Blocks of each stage."""
    heads: tuple[int, ...]
    """Attention heads of each stage."""
    window: int = 8
    """Side of an attention window, in tokens."""
    patch: int = 4
    """Side of a patch, in pixels of the spectrogram image."""
    mels: int = 64
    """Mel bins of a log-mel frame."""
    image: int = 256
    """Side of the square image that the log-mel is folded into."""
    fused: bool = False
    """Whether the patch embedding also takes three local views of long clips (attentional feature fusion)."""
    joint_dim: int = 512
    """Dimensions of the embedding."""

    @property
    def bands(self) -> int:
        """Stretches of time that are stacked along the frequency axis of the image."""
        return self.image // self.mels

    @property
    def side(self) -> int:
        """Side of the first stage's token grid."""
        return self.image // self.patch

    def grid(self, bands: int) -> tuple[int, int]:
        """Rows and columns of the first stage's tokens for an image of so many bands; all of them make it square.

        Example:
            >>> AudioArchitecture(embed_dim=96, depths=(2, 2, 6, 2), heads=(4, 8, 16, 32)).grid(2)
            (32, 64)
        """
        return bands * self.mels // self.patch, self.side

    @property
    def output_dim(self) -> int:
        """Channels of the last stage."""
        return self.embed_dim * 2 ** (len(self.depths) - 1)

    @property
    def name(self) -> str:
        """The name LAION gives this size, or the sizes themselves.

        Example:
            >>> AudioArchitecture(embed_dim=96, depths=(2, 2, 6, 2), heads=(4, 8, 16, 32)).name
            'HTSAT-tiny'
        """
        known: dict[tuple[int, tuple[int, ...]], str] = {
            (96, (2, 2, 6, 2)): "tiny",
            (128, (2, 2, 12, 2)): "base",
            (256, (2, 2, 12, 2)): "large",
        }
        size = known.get((self.embed_dim, self.depths)) or f"{self.embed_dim}x{'-'.join(map(str, self.depths))}"
        return f"HTSAT-{size}{'-fused' if self.fused else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class TextArchitecture:
    """Sizes of a RoBERTa text tower (Liu et al. 2019, arXiv:1907.11692)."""

    vocabulary: int = 50265
    width: int = 768
    layers: int = 12
    heads: int = 12
    hidden: int = 3072
    positions: int = 514
    pad_token_id: int = 1
    layer_norm_eps: float = 1e-5
    joint_dim: int = 512

    @property
    def name(self) -> str:
        """`RoBERTa-base` for its sizes, else the sizes themselves."""
        base = (self.width, self.layers, self.heads) == (768, 12, 12)
        return "RoBERTa-base" if base else f"RoBERTa-{self.width}x{self.layers}"
