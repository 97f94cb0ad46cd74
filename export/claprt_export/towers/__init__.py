"""The two encoders as plain torch modules, written for export.

    audio           HTSAT: log-mels to embeddings
    text            RoBERTa: token ids to embeddings
    fusion          attentional feature fusion of fused checkpoints
    folding         constants derived from weights, computed once for inference
    window_order    token orders of HTSAT's windows

Imports `architecture` and `errors`.
"""

from claprt_export.towers.audio import AudioTower
from claprt_export.towers.folding import freeze
from claprt_export.towers.text import TextTower

__all__ = ["AudioTower", "TextTower", "freeze"]
