"""The one replaceable seam: what runs the two towers.

Everything above it (decoding, windows, pooling, tokens, tasks, services) is the same code whatever the engine. In process
it is `claprt.inprocess.InProcessEngine`; a server can stand behind the same two methods.
"""

from __future__ import annotations

from typing import Protocol

from claprt.arrays import AttentionMask, Embeddings, IsLonger, LogMels, TokenIds


class Engine(Protocol):
    """Runs the audio tower and the text tower of one bundle."""

    @property
    def provider(self) -> str:
        """What the towers really run on."""
        ...

    @property
    def precision(self) -> str:
        """What the towers compute in, in one word; it is part of fingerprints."""
        ...

    @property
    def at_once(self) -> int:
        """Calls that run side by side; others wait their turn."""
        ...

    def throughput(self) -> Engine:
        """The engine to use for many sounds; often this one."""
        ...

    def audio(self, log_mels: LogMels, is_longer: IsLonger | None) -> Embeddings:
        """Unit vectors [batch, dim] of log-mels [batch, views, frames, mels]; `is_longer` for fused bundles only."""
        ...

    def text(self, token_ids: TokenIds, attention_mask: AttentionMask) -> Embeddings:
        """Unit vectors [batch, dim] of token ids [batch, tokens]."""
        ...
