"""Writes src/gelu_table.h: GELU as square polynomials on quarters, fitted at Chebyshev nodes.

python native/gelu_table.py

Prints the largest error between -9 and 9, a few hundredths of a step of the bytes that follow.
"""

import math
from pathlib import Path

import numpy as np

SEGMENTS = 32
HEADER = """// GELU as square polynomials, written by gelu_table.py: segment i is x within an eighth of
// (i - 16) / 4, the first is 0 and the last is x.
#pragma once

namespace claprt {

constexpr float kGelu[3][32] = {
"""


def gelu(x: np.ndarray) -> np.ndarray:
    """GELU [n] of x [n]."""
    return 0.5 * x * (1 + np.vectorize(math.erf)(x / math.sqrt(2)))


def coefficients() -> np.ndarray:
    """Coefficients [3, segments] of 1, x and x²."""
    table = np.zeros((3, SEGMENTS))
    table[1, -1] = 1
    for segment in range(1, SEGMENTS - 1):
        x = (segment - 16) / 4 + np.cos(np.linspace(0, np.pi, 201)) / 8
        fit = np.polynomial.Chebyshev.fit(x, gelu(x), 2).convert(kind=np.polynomial.Polynomial)
        table[: len(fit.coef), segment] = fit.coef
    return table


def main() -> None:
    """Write the header and print the error."""
    table = coefficients()
    x = np.linspace(-9, 9, 400_001)
    segment = np.rint(4 * np.clip(x, -4.0, 3.75) + 16).astype(int)
    found = table[0, segment] + x * (table[1, segment] + x * table[2, segment])
    print(f"largest error {np.abs(found - gelu(x)).max():.1e}")
    rows = ["    {" + ", ".join(f"{value:.9e}f" for value in row) + "},\n" for row in table]
    text = HEADER + "".join(rows) + "};\n\n}  // namespace claprt\n"
    Path(__file__).with_name("src").joinpath("gelu_table.h").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
