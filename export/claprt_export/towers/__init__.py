"""The two encoders as plain torch modules, written for export."""

from claprt_export.towers.audio import AudioTower
from claprt_export.towers.folding import freeze
from claprt_export.towers.text import TextTower

__all__ = ["AudioTower", "TextTower", "freeze"]
