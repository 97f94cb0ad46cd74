"""What tests of file formats have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from claprt.audio.sound import open_sound


def samples(source: Any) -> NDArray[Any]:
    """All mono samples of a source [samples]."""
    return np.concatenate(list(open_sound(source, None, 48_000).blocks))


def both(tmp_path: Path, content: bytes) -> tuple[Path, bytes]:
    """The same file as a path without a telling name, and as bytes."""
    path = tmp_path / "sound"
    path.write_bytes(content)
    return path, content
