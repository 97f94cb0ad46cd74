"""A projection into a bundle that is there already."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from claprt.bundle.folder import Bundle, is_shipped, read_bundle
from claprt.bundle.graphs import PROJECTION_FILE, ProjectionInfo
from claprt.bundle.manifest import MANIFEST_FILE, Manifest
from claprt_export.atomic import new_file
from claprt_export.errors import CheckpointError, OutputError
from claprt_export.projection.graph import write_graph
from claprt_export.projection.network import StoredProjection


def open_bundle(folder: Path, *, force: bool) -> Bundle:
    """A bundle that a projection may be put into.

    Raises:
        BundleError: there is none at the folder.
        OutputError: it ships with the package, or has a projection and `force` is not set.
    """
    bundle = read_bundle(folder)
    if is_shipped(bundle.path):
        raise OutputError(
            f"The bundle {bundle.manifest.name!r} at {bundle.path} ships with claprt and stays as released. Make one "
            f"of your own, `claprt-export {bundle.manifest.name} --out FOLDER`, and name that."
        )
    have = bundle.manifest.projection
    if have is not None and not force:
        raise OutputError(f"{bundle.path} has a projection already, of {have.source}; add --force to replace it.")
    return bundle


def put_projection(stored: StoredProjection, folder: Path, *, force: bool = False) -> ProjectionInfo:
    """Write the graph into the bundle and name it in the manifest, after it was checked against torch.

    Each file appears whole. A bundle that had a projection is one without for the moment between the two, so that no
    manifest ever states another graph than the one that is there.

    Raises:
        BundleError: there is no bundle at the folder.
        CheckpointError: the projection takes vectors of another size.
        OutputError: the bundle ships with the package, has a projection and `force` is not set, or cannot be written.
        ParityError: the graph does not compute what torch does.
    """
    bundle = open_bundle(folder, force=force)
    refuse_other_dim(bundle, stored.network.config.input_dim, stored.name)
    manifest = replace(bundle.manifest, projection=None)
    with new_file(bundle.path / PROJECTION_FILE) as graph:
        facts = write_graph(stored, graph, PROJECTION_FILE)
        if bundle.manifest.projection is not None:
            _write_manifest(bundle.path, manifest)
    _write_manifest(bundle.path, replace(manifest, projection=facts))
    return facts


def refuse_other_dim(bundle: Bundle, dim: int, what: str) -> None:
    """Check that a projection of vectors [dim] fits the bundle's.

    Raises:
        CheckpointError: If the lengths differ.
    """
    if dim != bundle.manifest.embedding_dim:
        raise CheckpointError(
            f"{what} is for vectors of {dim} numbers, and those of the bundle at {bundle.path} have "
            f"{bundle.manifest.embedding_dim}. Train a projection on vectors of this bundle."
        )


def _write_manifest(folder: Path, manifest: Manifest) -> None:
    with new_file(folder / MANIFEST_FILE) as path:
        path.write_text(manifest.to_json(), encoding="utf-8")
