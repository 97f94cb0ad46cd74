"""What vectors in int8 and in bits still find: recall of neighbours against float32, the change of cosines, and their size.

python benchmarks/quantised.py --dataset FOLDER [--bundle MODEL]

The folder has sounds in any depth. For each sound the nearest others, and for each of some texts the nearest sounds, are
looked for with vectors as `POST /v1/embeddings` gives them: int8 by cosine, bits by the number of bits that agree.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

import msgspec  # noqa: E402
import numpy as np  # noqa: E402
from numpy.typing import NDArray  # noqa: E402

import claprt  # noqa: E402
from claprt.serve.http.quantised import encode_vector, quantise_int8  # noqa: E402
from claprt.serve.schemas import VectorFormat  # noqa: E402

Matrix = NDArray[Any]
FORMATS = ("int8", "binary")
SIZES: tuple[VectorFormat, ...] = ("float", "base64", "int8", "ubinary", "binary")


def in_int8(rows: Matrix) -> Matrix:
    """Rows [n, dim] rounded to int8 and scaled back, of length 1."""
    back = np.stack([numbers * np.float32(scale) for numbers, scale in map(quantise_int8, rows)])
    return back / np.linalg.norm(back, axis=1, keepdims=True)


def in_bits(rows: Matrix) -> Matrix:
    """Rows [n, dim] of 1 and -1, whose products are what the bits agree in, of length 1."""
    return np.where(rows > 0, np.float32(1), np.float32(-1)) / np.sqrt(rows.shape[1])


def recall(exact: Matrix, found: Matrix, k: int) -> float:
    """Share of the k best columns of each row of `exact` [rows, columns] among the k best of `found`."""
    best, other = (np.argsort(-scores, axis=1, kind="stable")[:, :k] for scores in (exact, found))
    return float(np.mean([len(set(one) & set(two)) / k for one, two in zip(best, other, strict=True)]))


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(description="Recall of quantised vectors against float32.")
    parser.add_argument("--dataset", type=Path, required=True, metavar="FOLDER")
    parser.add_argument("--bundle", default="mini")
    parser.add_argument("--k", type=int, default=10)
    options = parser.parse_args()
    files = sorted(path for path in options.dataset.rglob("*") if path.suffix in (".ogg", ".wav", ".flac"))
    clap = claprt.load(options.bundle)
    sounds = clap.embed_audio(files)
    texts = clap.embed_text(["dog", "rain", "sea waves", "crying baby", "clock tick", "person sneeze", "helicopter",
                             "chainsaw", "rooster", "fire crackling"])  # fmt: skip
    print(f"{len(files)} sounds, {clap.manifest.name}, recall of the {options.k} nearest\n")
    print("| form | sound to sound | text to sound | largest change of a cosine |\n|---|---|---|---|")
    for name, lowered in zip(FORMATS, (in_int8, in_bits), strict=True):
        few, few_texts = lowered(sounds), lowered(texts)
        exact, found = sounds @ sounds.T, few @ few.T
        change = f"{np.abs(exact - found).max():.4f}" if name == "int8" else ""
        np.fill_diagonal(exact, -2)
        np.fill_diagonal(found, -2)
        beside = recall(exact, found, options.k), recall(texts @ sounds.T, few_texts @ few.T, options.k)
        print(f"| `{name}` | {beside[0]:.3f} | {beside[1]:.3f} | {change} |")
    print("\n| form | bytes of JSON |\n|---|---|")
    for form in SIZES:
        print(f"| `{form}` | {np.median([len(msgspec.json.encode(encode_vector(row, form))) for row in sounds]):.0f} |")


if __name__ == "__main__":
    main()
