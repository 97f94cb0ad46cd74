"""What results were measured on, in one line."""

from __future__ import annotations

from typing import Any


def machine_line(results: dict[str, Any]) -> str:
    """Processor, versions and commit of results."""
    found = results["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items())
    features = ", ".join(found["features"])
    commit = f", commit {found['commit']}" if found.get("commit") else ""
    return f"Measured on {found['threads']} cores of {found['processor']} with {features}; {versions}{commit}."
