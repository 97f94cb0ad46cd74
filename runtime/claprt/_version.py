"""The version of both distributions; docs/release.md lists what repeats it."""

__version__ = "0.1.0"
