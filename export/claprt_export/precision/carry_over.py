"""What a bundle was given after its export, kept when the same checkpoint is exported into its place again."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

from claprt.bundle.digests import sha256_of
from claprt.bundle.folder import read_bundle
from claprt.bundle.manifest import Manifest
from claprt.errors import BundleError


def with_additions(manifest: Manifest, before: Path, folder: Path, report: Callable[[str], None]) -> Manifest:
    """The manifest with the projection and the calibration of tags of the bundle that it replaces.

    Args:
        manifest: of the new bundle.
        before: folder that is replaced; nothing is kept where it holds no bundle, or one of another checkpoint.
        folder: of the new bundle, into which files are copied.
        report: is told what is kept.
    """
    try:
        old = read_bundle(before.resolve())
    except BundleError:
        return manifest
    if old.manifest.source.sha256 != manifest.source.sha256:
        return manifest
    if old.manifest.tagging not in (None, manifest.tagging):
        report("keeping the calibration of tags of the bundle that is replaced")
        manifest = dataclasses.replace(manifest, tagging=old.manifest.tagging)
    facts = old.manifest.projection
    if facts is not None and sha256_of(before / facts.graph.file) == facts.graph.sha256:
        report("keeping the projection of the bundle that is replaced")
        shutil.copyfile(before / facts.graph.file, folder / facts.graph.file)
        manifest = dataclasses.replace(manifest, projection=facts)
    return manifest
