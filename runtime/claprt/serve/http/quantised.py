"""Vectors of a reply in fewer bytes: int8 with a scale, and one bit for each number.

    float     numbers
    base64    little-endian float32, exact
    int8      whole numbers -127 to 127 and the `scale` they have to be multiplied with
    ubinary   bit 1 for each number above 0, eight to a byte, the first one highest; 0 to 255
    binary    the same bytes minus 128, as sentence-transformers and Cohere have them

The scale of int8 is the vector's own, its largest absolute number / 127, since the numbers of a unit vector of 512 are
around 0.04: a fixed scale of 1/127 would leave about six steps of 127. So each number is off by half a scale at most, and
a cosine of two such vectors needs no scale at all.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec
import numpy as np

from claprt.arrays import Array, Embedding
from claprt.errors import OptionError
from claprt.serve.schemas import VectorFormat

_BITS = ("binary", "ubinary")


def check_format(form: VectorFormat, dim: int) -> None:
    """Check that vectors of this length have the form.

    Raises:
        OptionError: If bits are asked for and the length is not a multiple of 8.
    """
    if form in _BITS and dim % 8:
        raise OptionError(f"encoding_format={form} packs 8 numbers into a byte, and dimensions={dim} is no multiple of 8.")


def encode_vector(row: Embedding, form: VectorFormat) -> dict[str, Any]:
    """Encode a vector [dim] as the fields `embedding` and, for int8, `scale` of a reply's row.

    JSON is encoded here, one vector at a time, so that other threads run in between.

    Example:
        >>> bytes(encode_vector(np.float32([0.5, -1, 0, 0, 0, 0, 0, 1]), "ubinary")["embedding"])
        b'[129]'
    """
    if form == "base64":
        return {"embedding": base64.b64encode(row.astype("<f4").tobytes()).decode()}
    if form == "int8":
        whole, scale = quantise_int8(row)
        return {"embedding": _as_json(whole), "scale": scale}
    if form in _BITS:
        packed = np.packbits(row > 0)
        return {"embedding": _as_json(packed if form == "ubinary" else packed.astype(np.int16) - 128)}
    return {"embedding": _as_json(row)}


def quantise_int8(row: Embedding) -> tuple[Array, float]:
    """Round a vector [dim] to int8 with a scale of its own; `numbers * scale` is within half a scale of it.

    Example:
        >>> numbers, scale = quantise_int8(np.float32([0.127, -0.0635]))
        >>> numbers.tolist(), round(scale, 6)
        ([127, -64], 0.001)
    """
    scale = float(np.abs(row).max(initial=0)) / 127
    return (np.rint(row / scale) if scale else np.zeros(len(row))).astype(np.int8), scale


def _as_json(numbers: Array) -> msgspec.Raw:
    return msgspec.Raw(msgspec.json.encode(numbers.tolist()))
