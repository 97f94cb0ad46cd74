"""What computed a score: the facts without which a number cannot be compared, and the line for a paper."""

from __future__ import annotations

from dataclasses import dataclass

from claprt._version import __version__
from claprt.model.clap import Clap


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Checkpoint, protocol, precision and version."""

    checkpoint: str
    """Name of the checkpoint."""
    sha256: str
    """Of the checkpoint's file."""
    protocol: str
    windows: str
    """What is done with sounds longer than a window."""
    precision: str
    fingerprint: str
    """Of the vectors; scores with equal fingerprints are comparable."""
    trained: bool = True
    version: str = __version__

    def to_dict(self) -> dict[str, str | bool]:
        """Plain values for JSON."""
        return {
            "checkpoint": self.checkpoint,
            "sha256": self.sha256,
            "protocol": self.protocol,
            "windows": self.windows,
            "precision": self.precision,
            "fingerprint": self.fingerprint,
            "trained": self.trained,
            "version": self.version,
        }

    @property
    def line(self) -> str:
        """The facts in words, for the end of a sentence."""
        untrained = "" if self.trained else ", untrained weights"
        return (
            f"claprt {self.version}, protocol {self.protocol}, checkpoint {self.checkpoint} (sha256 {self.sha256}"
            f"{untrained}), windows {self.windows}, {self.precision}, fingerprint {self.fingerprint}"
        )

    @property
    def warnings(self) -> tuple[str, ...]:
        """What it says about any score."""
        return () if self.trained else (f"{self.checkpoint} has untrained weights; its scores mean nothing.",)


def provenance_of(
    clap: Clap, *, protocol: str = "claprt", windows: str | None = None, fingerprint: str | None = None
) -> Provenance:
    """The facts about a model's vectors.

    Args:
        clap: The model.
        protocol: Name of the protocol.
        windows: Its treatment of long sounds; by default the model's.
        fingerprint: Of the protocol's vectors; by default the model's.
    """
    source = clap.manifest.source
    return Provenance(
        checkpoint=source.name,
        sha256=source.sha256,
        protocol=protocol,
        windows=windows or clap.long.label,
        precision=clap.precision,
        fingerprint=fingerprint or clap.fingerprint,
        trained=source.trained,
    )
