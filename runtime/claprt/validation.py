"""Checks of arguments that several rooms share."""

from __future__ import annotations

import numpy as np

from claprt.errors import OptionError


def whole_number(name: str, value: object) -> int:
    """Convert an option to an int.

    Raises:
        OptionError: If it is not a whole number.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise OptionError(f"{name}={value!r} is not a whole number.")
    return int(value)


def validate_seed(seed: object) -> int:
    """A seed as it was given.

    Raises:
        OptionError: If it is not a whole number from 0 to 2^32 - 1.
    """
    number = whole_number("seed", seed)
    if not 0 <= number < 2**32:
        raise OptionError(f"seed={seed!r} is not a whole number from 0 to 2^32 - 1.")
    return number


def is_missing(value: object) -> bool:
    """Whether this is None, NaN, or what pandas has for them."""
    nan = isinstance(value, float | np.floating) and bool(np.isnan(value))
    return value is None or nan or type(value).__name__ in ("NAType", "NaTType")
