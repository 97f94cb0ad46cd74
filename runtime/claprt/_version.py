"""The version of both distributions; docs/release.md lists what repeats it."""

__version__ = "0.2.0"
