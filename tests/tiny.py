"""Toy bundles with the true contract: the real log-mel graph and tokenizer, and towers of one matrix each.

They lie in `tests/toy`, made by its `make.py`, and are read without torch, onnx or the exporter.
"""

from __future__ import annotations

import json
import lzma
import shutil
from pathlib import Path

TOYS = Path(__file__).parent / "toy"


def write_tiny_bundle(folder: Path, *, fused: bool = False, name: str = "tiny") -> Path:
    """Write the bundle under this name to a new folder and return the folder."""
    folder.mkdir(parents=True)
    for file in (TOYS / ("fused" if fused else "plain")).iterdir():
        unpack(file, folder)
    if name != "tiny":
        path = folder / "manifest.json"
        manifest = json.loads(path.read_bytes())
        manifest["name"] = manifest["source"]["name"] = name
        path.write_text(json.dumps(manifest, indent=2), encoding="utf-8")
    return folder


def unpack(file: Path, folder: Path) -> Path:
    """Put a committed file into the folder, decompressed if it is compressed, and return its path there."""
    if file.suffix != ".xz":
        return Path(shutil.copyfile(file, folder / file.name))
    out = folder / file.stem
    out.write_bytes(lzma.decompress(file.read_bytes()))
    return out
