"""What a bundle was given after its export, kept when the same checkpoint is exported into its place again."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

from claprt.bundle.digests import sha256_of
from claprt.bundle.engine_forms import EngineInfo
from claprt.bundle.folder import read_bundle
from claprt.bundle.manifest import Manifest
from claprt.errors import BundleError


def with_additions(manifest: Manifest, before: Path, folder: Path, report: Callable[[str], None]) -> Manifest:
    """The manifest with the projection, the calibration of tags and the engines of the bundle that it replaces.

    Engines are kept where their graph is the same file as before.

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
    return _with_engines(manifest, old.manifest, before, folder, report)


def _with_engines(manifest: Manifest, old: Manifest, before: Path, folder: Path, report: Callable[[str], None]) -> Manifest:
    kept: list[EngineInfo] = []
    for engine in old.engines:
        graph = manifest.graphs[engine.graph].get(engine.precision)
        if graph is None or graph.sha256 != engine.graph_sha256 or sha256_of(before / engine.file) != engine.sha256:
            report(f"leaving out {engine.file}, which was built from another graph (claprt-export tensorrt builds it anew)")
            continue
        report(f"keeping {engine.file} of the bundle that is replaced")
        shutil.copyfile(before / engine.file, folder / engine.file)
        kept.append(engine)
    return dataclasses.replace(manifest, engines=tuple(kept)) if kept else manifest
