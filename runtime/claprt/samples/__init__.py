"""Sample sounds that ship with the package, for first steps, examples and tests."""

from __future__ import annotations

from pathlib import Path

from claprt.errors import OptionError

SAMPLES = ("dog", "rain")
"""Names of the sample sounds: a dog barking (2 s) and rain (1.4 s), mono at 24 kHz."""


def sample_path(name: str = "dog") -> str:
    """Path of a sample sound, a FLAC file in the installed package.

    Args:
        name: one of `claprt.samples.SAMPLES`: `dog` or `rain`.

    Raises:
        OptionError: if there is no sample of that name.

    Example:
        >>> Path(sample_path("dog")).name
        'dog.flac'
    """
    if name not in SAMPLES:
        raise OptionError(f"There is no sample sound {name!r}; there are {' and '.join(SAMPLES)}.")
    return str(Path(__file__).with_name(f"{name}.flac"))
