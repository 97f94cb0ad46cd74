"""What is wrong with a file that should hold weights, told from its first and last bytes."""

from __future__ import annotations

import zipfile
from pathlib import Path

from claprt.audio.files.containers import HEAD_BYTES, recognise

_HEADER_BYTES = 4_000_000
"""The exporter says more of longer headers."""
_AGAIN = "Download or copy it again."


def checkpoint_fault(file: Path) -> str | None:
    """Why a file cannot be a checkpoint, as the end of a sentence; None where it may be one.

    A checkpoint is a zip archive or a pickle that `torch.save` wrote, or a safetensors file.

    Raises:
        OSError: If the file cannot be read.
    """
    size = file.stat().st_size
    with file.open("rb") as stream:
        head = stream.read(HEAD_BYTES)
    if head[:2] == b"PK":
        return _zip_fault(file)
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return None
    if head[8:9] == b"{":
        header = int.from_bytes(head[:8], "little")
        return f"it is a safetensors file that is cut short. {_AGAIN}" if size < header + 8 <= _HEADER_BYTES else None
    return _foreign(head, file)


def _foreign(head: bytes, file: Path) -> str:
    if not head:
        return f"it is empty. {_AGAIN}"
    if file.suffix == ".onnx":
        return "it is a graph of a bundle; name the folder that it lies in."
    kind = recognise(head)
    if kind is not None:
        return f"it is {kind.name}."
    return f"it begins with {head[:8]!r}, and neither the files of torch (.pt, .bin) nor safetensors begin so."


def _zip_fault(file: Path) -> str | None:
    try:
        with zipfile.ZipFile(file) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError):
        return f"it is cut short: the list of contents at the end of its zip archive is missing or damaged. {_AGAIN}"
    if not any(name.endswith("data.pkl") for name in names):
        return "it is a zip archive that torch.save did not write: it holds no data.pkl."
    return None
