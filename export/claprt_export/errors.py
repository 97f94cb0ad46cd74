"""Every error that the exporter raises on purpose, under the runtime's `ClaprtError`.

ExportError
├── UnknownVariantError      (ValueError)
├── CheckpointError          (ValueError)   cannot be read, or its weights are not a CLAP that is known here
│   └── CheckpointNotFoundError (FileNotFoundError)
├── DownloadError            (ConnectionError)
├── TokenizerError           (ValueError)
├── ParityError                             a graph does not compute what the checkpoint does
│   └── CollapsedTowerError                 a tower gives nearly one vector for everything
├── PrecisionError                          a lowered graph did not pass the quality check
└── OutputError              (OSError)      the bundle cannot be written
"""

from __future__ import annotations

from claprt.errors import ClaprtError


class ExportError(ClaprtError):
    """No bundle was written."""


class UnknownVariantError(ExportError, ValueError):
    """There is no variant of that name."""


class CheckpointError(ExportError, ValueError):
    """The checkpoint cannot be read, or is not a CLAP with HTSAT and RoBERTa."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """No checkpoint at the path."""


class DownloadError(ExportError, ConnectionError):
    """A published checkpoint could not be fetched."""


class TokenizerError(ExportError, ValueError):
    """The tokenizer is missing or does not belong to the text tower."""


class ParityError(ExportError):
    """A graph differs from the torch tower by more than the tolerance table allows."""


class CollapsedTowerError(ParityError):
    """A tower gives nearly the same vector for different inputs."""


class PrecisionError(ExportError):
    """A lowered graph was refused by the quality gate, or there was nothing to measure it by."""


class OutputError(ExportError, OSError):
    """The bundle cannot be written where it was asked for."""
