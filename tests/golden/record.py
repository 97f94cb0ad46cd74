"""Record the vectors and fingerprints of the claprt that is installed, for later versions to be held against.

    PYTHONPATH=OLD/runtime:. python tests/golden/record.py tests/golden/claprt-0.1.0.json

`OLD` is a checkout of the release, and the current folder a checkout that has this program.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
import tempfile
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

import claprt
from tests.golden.inputs import RATE, TEXTS, TINY_SOUNDS, sounds
from tests.tiny import write_tiny_bundle

COMPONENTS = slice(None, None, 16)
"""Components of a vector whose values are kept; the digest is of all of them."""

LONG: dict[str, tuple[dict[str, Any], ...]] = {
    "mini": ({}, {"long": "windows", "hop_s": 5}, {"long": "center"}, {"long": "head"}, {"long": "random", "seed": 7}),
    "fused": ({}, {"seed": 7}),
}
"""Treatments of long clips by bundle, as options of `load`; the first is the bundle's own."""

_OF_ONE_CORE = ("processor", "cpu MHz", "bogomips", "apicid", "initial apicid", "core id", "physical id", "microcode")


def processor() -> str:
    """What has to be equal for vectors to have the same bits: the processor and the libraries that compute."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.is_file() else [platform.processor()]
    kind = sorted({line for line in lines if not line.startswith(_OF_ONE_CORE)})
    identity = hashlib.sha256(repr((platform.machine(), kind)).encode()).hexdigest()[:16]
    return " ".join([identity, *map(_package, ("numpy", "onnxruntime", "soxr"))])


def _package(name: str) -> str:
    try:
        return f"{name}-{version(name)}"
    except PackageNotFoundError:
        return f"no {name}"


def digest(vector: Any) -> str:
    """Of the bits of a float32 vector."""
    return hashlib.sha256(np.ascontiguousarray(vector, "<f4").tobytes()).hexdigest()[:16]


def entry(vector: Any) -> dict[str, Any]:
    """What is kept of a vector."""
    return {"sha256": digest(vector), "values": " ".join(str(value) for value in vector[COMPONENTS])}


def rows(name: str, bundle: str | Path) -> Iterator[dict[str, Any]]:
    """One row for each recipe and treatment of long clips.

    Args:
        name: of the bundle in `LONG`.
        bundle: its name or folder for `load`.
    """
    heard = sounds()
    for recipe in ("laion", "transformers", "kromosynth"):
        for long in LONG[name]:
            clap = claprt.load(bundle, provider="cpu", threads=1, preprocess=recipe, **long)
            row: dict[str, Any] = {"preprocess": recipe, **long, "fingerprint": clap.fingerprint}
            if name == "mini" and recipe == "laion" and not long:
                row["texts"] = [entry(vector) for vector in clap.embed_text(TEXTS)]
            row["sounds"] = {
                sound: entry(clap.embed_audio(heard[sound], None if sound == "stereo" else RATE))
                for sound in (("long",) if long else heard if name == "mini" else TINY_SOUNDS)
            }
            yield row


def main(out: Path) -> None:
    """Write the file."""
    made: dict[str, Any] = {"claprt": claprt.__version__, "processor": processor(), "mini": list(rows("mini", "mini"))}
    with tempfile.TemporaryDirectory() as folder:
        made["fused"] = list(rows("fused", write_tiny_bundle(Path(folder) / "fused", fused=True)))
    out.write_text(json.dumps(made, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
