"""A bundle's projection: in the manifest, from the engine's vectors, in threads, after a fork, and where there is none."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import claprt
from claprt.bundle.folder import Bundle, read_bundle
from claprt.bundle.manifest import MANIFEST_FILE
from claprt.cli import main
from claprt.engines import projection
from claprt.engines.projection import Projection
from claprt.errors import ArrayError, BundleCorruptError, FingerprintError, OptionError, ProviderError
from tests.projected import expected, with_projection

DIM = 512


@pytest.fixture(scope="module")
def folder(bundle: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return with_projection(bundle, tmp_path_factory.mktemp("bundles") / "projected")


@pytest.fixture(scope="module")
def projected(folder: Path) -> claprt.Clap:
    return claprt.load(folder)


def unit(rows: int, seed: int = 0) -> Any:
    vectors = np.random.default_rng(seed).standard_normal((rows, DIM)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


# the manifest


def test_it_is_listed_and_verified(folder: Path, tmp_path: Path) -> None:
    found = claprt.read_bundle(folder)
    facts = found.manifest.projection
    assert facts is not None
    assert (facts.input_dim, facts.output_dim, facts.graph.file) == (DIM, 6, "projection.onnx")
    assert found.manifest.listed_files()["projection.onnx"].sha256 == facts.graph.sha256
    copied = tmp_path / "altered"
    shutil.copytree(folder, copied)
    content = bytearray((copied / "projection.onnx").read_bytes())
    content[-20] ^= 1
    (copied / "projection.onnx").write_bytes(content)
    with pytest.raises(BundleCorruptError, match=r"projection\.onnx is not the file"):
        claprt.read_bundle(copied).verify()


def test_a_manifest_from_before_there_were_projections(bundle: Path, tmp_path: Path) -> None:
    copied = tmp_path / "old"
    shutil.copytree(bundle, copied)
    content = json.loads((copied / MANIFEST_FILE).read_bytes())
    del content["projection"]
    (copied / MANIFEST_FILE).write_text(json.dumps(content), encoding="utf-8")
    assert claprt.read_bundle(copied).manifest.projection is None


def test_a_fingerprint_does_not_change(clap: claprt.Clap, projected: claprt.Clap) -> None:
    assert projected.fingerprint == clap.fingerprint


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"input_dim": 511}, "does not take 511 numbers and give 6"),
        ({"output_dim": 7}, "does not take 512 numbers and give 7"),
        ({"source": None}, r"Expected `str`, got `null` - at `\$.projection.source`"),
    ],
)
def test_a_manifest_that_contradicts_itself(folder: Path, tmp_path: Path, change: dict[str, Any], message: str) -> None:
    copied = tmp_path / "wrong"
    shutil.copytree(folder, copied)
    content = json.loads((copied / MANIFEST_FILE).read_bytes())
    content["projection"].update(change)
    (copied / MANIFEST_FILE).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(BundleCorruptError, match=message):
        claprt.read_bundle(copied)


def test_a_projection_of_vectors_of_another_size(folder: Path, tmp_path: Path) -> None:
    copied = tmp_path / "wrong"
    shutil.copytree(folder, copied)
    content = json.loads((copied / MANIFEST_FILE).read_bytes())
    content["projection"]["input_dim"] = content["projection"]["graph"]["inputs"][0]["shape"][1] = 100
    (copied / MANIFEST_FILE).write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(BundleCorruptError, match=r"projection\.onnx does not take vectors of 512"):
        claprt.read_bundle(copied)


def test_inspect_shows_it_in_one_line(folder: Path, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["inspect", str(folder)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("projection ")]
    assert lines == ["projection    512 → 6 in [0, 1], from toy.pt (sha256 1111111111111111…), within 3e-08 of torch"]
    assert main(["inspect", str(bundle)]) == 0
    assert "projection" not in capsys.readouterr().out


# what it gives


def test_descriptors_of_one_and_of_many(projected: claprt.Clap) -> None:
    vectors = unit(7)
    many = projected.project(vectors)
    assert many.shape == (7, 6)
    assert many.dtype == np.float32
    assert np.abs(many - expected(vectors)).max() < 1e-6
    one = projected.project(vectors[3])
    assert one.shape == (6,)
    assert np.abs(one - many[3]).max() < 1e-6
    assert np.abs(projected.project(vectors[::-1]) - many[::-1]).max() < 1e-6  # not contiguous, and in another order
    assert projected.project(vectors[:0]).shape == (0, 6)


def test_descriptors_of_sounds_and_texts(projected: claprt.Clap) -> None:
    sound = projected.embed_audio(np.ones(480, np.float32))
    assert projected.project(sound).shape == (6,)
    assert projected.project(projected.embed_text(["a dog", "rain"])).shape == (2, 6)


def test_they_stay_within_bounds(projected: claprt.Clap) -> None:
    far = projected.project(1e6 * unit(9))
    assert far.min() >= 0
    assert far.max() <= 1


@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_other_floats_are_taken(projected: claprt.Clap, dtype: Any) -> None:
    vectors = unit(3).astype(dtype)
    assert np.array_equal(projected.project(vectors), projected.project(vectors.astype(np.float32)))


def test_many_rows_are_run_in_parts(projected: claprt.Clap, monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = unit(23)
    monkeypatch.setattr(projection, "_ROWS", 5)
    assert np.abs(projected.project(vectors) - expected(vectors)).max() < 1e-6


def _with_nan() -> Any:
    vectors = unit(4)
    vectors[2, 7] = np.nan
    return vectors


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        ([0.0] * DIM, r"embeddings must be a numpy array \[n, 512\] or \[512\] of floats; got list"),
        (unit(2)[:, :-1], r"embeddings must be \[n, 512\] or \[512\] of floats; got float32 \[2, 511\]"),
        (unit(2)[None], r"got float32 \[1, 2, 512\]"),
        (np.zeros(0, np.float32), r"got float32 \[0\]"),
        (np.array(1.0), r"got float64 \[\]"),
        (np.zeros((2, DIM), np.int64), r"got int64 \[2, 512\]"),
        (np.zeros((2, DIM), complex), r"got complex128 \[2, 512\]"),
        (np.array([["a"] * DIM]), r"got <U1 \[1, 512\]"),
        (_with_nan(), "NaN or infinity in 1 of 4 rows, first in row 2"),
        (np.full((2, DIM), 1e300), "NaN or infinity in 2 of 2 rows, first in row 0"),
    ],
)
def test_what_is_no_embedding(projected: claprt.Clap, embeddings: Any, message: str) -> None:
    with pytest.raises(ArrayError, match=message):
        projected.project(embeddings)


# where there is none


def test_a_bundle_without_one(clap: claprt.Clap, bundle: Path) -> None:
    message = rf"claprt-export projection CHECKPOINT\.pt --bundle {bundle}`, or train one"
    with pytest.raises(OptionError, match=message):
        clap.project(unit(1))


def test_the_one_that_ships() -> None:
    shipped = Projection(claprt.read_bundle("mini"))
    with pytest.raises(OptionError, match=r"--bundle FOLDER`.* `claprt-export mini --out FOLDER` makes one like it"):
        shipped(unit(1))


def test_a_model_on_a_server(projected: claprt.Clap) -> None:
    """The manifest is here, the graph is not."""
    served = Projection(Bundle(folder=None, manifest=projected.manifest))
    with pytest.raises(
        OptionError,
        match=r"that of 'tiny' is not here: the model is on a server.*claprt\.load\(ADDRESS, projection=FOLDER\)",
    ):
        served(unit(1))


def test_the_projection_of_another_bundle(folder: Path, bundle: Path, projected: claprt.Clap, tmp_path: Path) -> None:
    """Of the same checkpoint, beside a model that has none of its own; another's is refused."""
    clap = claprt.load(bundle, projection=folder)
    assert clap.has_projection
    assert clap.manifest.projection == projected.manifest.projection
    assert clap.fingerprint == projected.fingerprint
    assert np.array_equal(clap.project(unit(3)), projected.project(unit(3)))
    assert not claprt.load(bundle).has_projection
    with pytest.raises(OptionError, match="has none"):
        claprt.load(folder, projection=bundle)
    other = with_projection(bundle, tmp_path / "other")
    manifest = read_bundle(other).manifest
    source = dataclasses.replace(manifest.source, sha256="2" * 64)
    (other / MANIFEST_FILE).write_text(dataclasses.replace(manifest, source=source).to_json(), encoding="utf-8")
    with pytest.raises(FingerprintError, match="another checkpoint"):
        claprt.load(bundle, projection=other)


# files, threads, processes


def test_a_file_that_changes_before_it_is_used(folder: Path, tmp_path: Path) -> None:
    copied = tmp_path / "changing"
    shutil.copytree(folder, copied)
    fresh = Projection(claprt.read_bundle(copied))
    (copied / "projection.onnx").write_bytes(b"something else")
    with pytest.raises(BundleCorruptError, match="was altered or taken away"):
        fresh(unit(1))
    (copied / "projection.onnx").unlink()
    with pytest.raises(BundleCorruptError, match="was altered or taken away"):
        fresh(unit(1))


def test_a_runtime_that_fails(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(feeds: object) -> None:
        raise RuntimeError("out of memory")

    broken = Projection(claprt.read_bundle(folder))
    monkeypatch.setattr(broken, "_runner", fail)
    with pytest.raises(ProviderError, match=r"projection\.onnx could not be run: out of memory"):
        broken(unit(1))


def test_many_threads_get_what_one_gets(folder: Path) -> None:
    fresh = Projection(claprt.read_bundle(folder))
    vectors = unit(8)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(fresh, [vectors] * 32))
    assert np.array_equal(np.stack(found), np.stack([fresh(vectors)] * 32))


def test_loading_leaves_this_threads_floating_point_alone(folder: Path) -> None:
    Projection(claprt.read_bundle(folder))(unit(1))
    assert np.float32(1e-40) * np.float32(0.5) > 0


_FORK = """
import os, sys, warnings
import numpy as np
import claprt
from claprt.engines.projection import Projection
warnings.simplefilter("ignore")
projection = Projection(claprt.read_bundle(sys.argv[1]))
vectors = np.ones((3, 512), np.float32)
expected = projection(vectors)
child = os.fork()
if child == 0:
    sys.exit(7 if np.array_equal(projection(vectors), expected) else 3)
idle = os.fork()
if idle == 0:
    sys.exit(8)
codes = [os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) for process in (child, idle)]
sys.exit(0 if np.array_equal(projection(vectors), expected) and codes == [7, 8] else 4)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_gets_a_session_of_its_own(folder: Path) -> None:
    done = subprocess.run([sys.executable, "-c", _FORK, str(folder)], timeout=60, check=False)
    assert done.returncode == 0
