"""What 0.1.0 had can be used under the names of 0.1.0: modules, their public names, commands, pickles."""

from __future__ import annotations

import base64
import importlib
import json
import os
import pickle
import re
import subprocess
import sys
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import claprt
from claprt import _moved, errors

NAMES: dict[str, str] = json.loads(Path(__file__).with_name("names_0_1_0.json").read_text(encoding="utf-8"))
"""Modules of 0.1.0 with their public names; of service, command line and exporter those that were documented."""

GONE = {
    "claprt.bound.CUDA_GRAPHS_VARIABLE", "claprt.bound.cuda_graphs_wanted", "claprt.bound.recorded",
    "claprt.bound.tensorrt_cache", "claprt.compat.kromosynth.checked_bundle", "claprt.decode.T",
    "claprt.providers.tensorrt_profiles",
    "claprt.triton.forks.Abandonable", "claprt.triton.forks.engines", "claprt.triton.forks.of_parents",
    "claprt.triton.ports", *(f"claprt.triton.pypi_server.{name}" for name in (
        "TritonServer", "is_ready", "serve", "shared_regions", "why_not",
    )),  # tools/pypi_triton_server.py of the repository
}  # fmt: skip
"""Names and modules that no document of 0.1.0 mentions and nothing replaces."""


def module(name: str) -> Any:
    """A module under its old name; skips where the package of an extra is missing."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        try:
            return importlib.import_module(name)
        except ImportError as error:
            if (error.name or "").startswith("claprt") and error.name != "claprt_export":
                raise
            pytest.skip(f"needs {error.name}: the export extra")


@pytest.mark.parametrize("name", sorted(NAMES.keys() - GONE))
def test_every_public_name_is_there(name: str) -> None:
    """What is renamed has a line in `NAMES` of `claprt._moved`."""
    old = module(name)
    missing = {f"{name}.{part}" for part in NAMES[name].split() if not hasattr(old, part)}
    assert missing == {gone for gone in GONE - NAMES.keys() if gone.rpartition(".")[0] == name}


def test_the_table_has_the_modules_of_010_alone() -> None:
    exporter = pytest.importorskip("claprt_export._moved", reason="needs claprt-export")
    moved = {**_moved.MODULES, **exporter.MODULES}
    assert set(moved) <= set(NAMES)
    assert {name.rpartition(".")[0] for name in _moved.NAMES} <= set(NAMES)
    assert all(name.split(".")[-1] in NAMES[name.rpartition(".")[0]].split() for name in _moved.NAMES)


def test_the_warning_names_the_new_place_at_the_import_statement(tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text("import claprt\nfrom claprt.many import audio_rows\nclaprt.windows.fill\nfrom claprt import mel\n")
    done = subprocess.run(
        [sys.executable, "-W", "always::DeprecationWarning", str(program)], capture_output=True, text=True, check=True
    )
    for line, old, new in ((2, "many", "model.batching"), (3, "windows", "audio.windows"), (4, "mel", "audio.log_mel")):
        warning = f"{program}:{line}: DeprecationWarning: claprt.{old} is now claprt.{new}; import from there."
        assert warning in done.stderr.splitlines()


def test_what_is_imported_is_the_same_object() -> None:
    assert module("claprt.results").EmbeddedSound is claprt.EmbeddedSound
    assert module("claprt.many").audio_rows is importlib.import_module("claprt.model.batching").run_audio_batch
    assert module("claprt.triton.steps").Steps is importlib.import_module("claprt.triton.backend.adapter").Steps


def test_what_never_was_there_is_not_there() -> None:
    for missing in ("claprt.nothing", "claprt.serve.nothing"):
        with pytest.raises(ModuleNotFoundError):
            importlib.import_module(missing)
    for package in (claprt, claprt.bundle, claprt.text, module("claprt.windows")):  # pyright: ignore[reportAttributeAccessIssue]
        assert not hasattr(package, "nothing")
    with pytest.raises(AttributeError, match=r"claprt\.windows is now claprt\.audio\.windows, without 'nothing'"):
        _ = module("claprt.windows").nothing


def test_commands_by_their_module() -> None:
    pytest.importorskip("torch", reason="needs torch: the export extra")
    for name in ("claprt_export.to_tensorrt", "claprt.triton.probe"):
        command = [sys.executable, "-m", name, "--help"]
        done = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
        assert "usage:" in done.stdout


def test_the_supervisor_of_a_triton_server_is_in_the_repository(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    old = module("claprt.triton.pypi_server")
    done = subprocess.run([sys.executable, "-m", old.__name__, "--help"], capture_output=True, text=True, check=False)
    assert ("usage:" in done.stdout, done.returncode) == ((True, 0) if old.PROGRAM.is_file() else (False, 1)), done.stderr
    monkeypatch.setattr(old, "PROGRAM", Path("nowhere/tools/pypi_triton_server.py"))
    assert old.main() == 1
    (place,) = re.findall(r"tools/\S+", capsys.readouterr().err)
    assert (Path(__file__).parents[2] / place).is_file()


def test_none_of_it_is_imported_with_the_package() -> None:
    program = "import sys, claprt, claprt._moved as m; print(sorted(set(m.MODULES) & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


PICKLES = (
    "eNqtVl1oHFUU3k2y2fw0aavFvxfHh2qLyTD/P6LZbWNcm3VDaZZSBIl35t7JTLo7s8zM2kSt1IemLQ4ieBXUF33SvvggKGop+uSLiuKLiIIWwV"
    "IRf4oPfVD03NnZ3SQNIuLdZff+nHPu+fnuOefU0Av2eC4dJ+m+pBAFbR/TZNJuoFYY8yGJ2o04osnEXNMiGBO8mBI8T/c/TR8BhiIOlvkT6DGa"
    "3OS3m601fskOQsI3gctDYYjWaLJjKSR24Edx2LZj4EwKKSVNij7ukDxPq7nTdDZv0TP0CN1XzVcHTlN3PCngeK1FGMuAo9BzZzung0n+XrqwsD"
    "D/F4z0p5qLqXVuduTll24tffrJQyUKS3fMnWBS3Z1dmSB1nbo3b6Gr5LJxmiZDDgy6QKzU/ijyHM9GsRf4YH/mkIiZB/6YnN1M0HPIIDgEJIXI"
    "8ylct/t6PZhtTItc7sMy3Htge227VO82v57Ze+iGVNfqgLs7GWp6vkdBx2KMlpc9f7kfrd5GsZ7Numq5U/+vJpXSD046zoFcE5QZbgUNz4agjm"
    "e62A2vRZPRhwJ/eRamUV+VWjLCdmsBTkNbPOH5ODgR0dNwX6W8pxMNFoTRFgDHizb5fzlELRf8P3q4dwYyhjw/NlIBSYGEYRD2GdIlMOw60MZe"
    "cD8gEZO5lAT4Bu123GEbaSLfc0gU02RnxtnfGal1p10jqvksDq6TDMOTCG3Sh0DnJCkrSMCWqsuCJluSKZmqbmADq6ZFFIIVjViq6BBFwZZNJB"
    "2ZlqgiR9SQrSLVEQRDA2MaiFl4dmEhGawdqtNkaW5xdloUuH1O0MARJ3JxwClc4HBsXxXuiriY+FwKXhLtn+IOkvB4gxAO+ZhbDHzP5g57XISa"
    "rQaJprhozY9dEnkRwVz68CPAVS03UClr95R//eXoG70JmDmWOvABZMf9WCa7HqwvHqhPy9KqNJ1+mEOKNdJYbBG7R1Y7daGWG6p9l6+WK+VDnQ"
    "BXyh8fSyfJcNRAPlmj7lOV+75+8tuvvrx4gVjzucVi7lwyGpIWQXELYdAMRI/WyWq8RYeJI8HBuSN1NC1KxqpEq7VqvvZ5kVjVPZDR3GNJYRHe"
    "RQdqjWB5qUkaachPUvdhePEtWUqXQDhWYeDaIn1HxsMHvr8KQdUJcogmyrqBZBNrRHYMy7ENXTR01ZaIpagqNkxJsTQkmYpi6aopqwIxFaRJgm"
    "kbdP6ti8Uc3DZeJ34UhFuuG4VcSpwgbAJki04jQDHolxQsFNsuTZ2yDp6AF/lixjCS6beRfl+XATxxZbBajlMWYkXumaSAWBi7HnjWfS6TszPd"
    "55k/uqZqDkKObWqCYhFNNXSEsWLIDliIZAtJSDUM0VSx44iAYGxpRBRl5AiiAiBWERHo/GcfPZr7D5r2WHalSi2RtPZAPtvOKYDX9Q32DcWAkO"
    "vNm2Tbm6xzVBCKJCxbNhJMzSFI1bEqGJaAbEvWNeJAQBXTEjAhgqRpjmqIkmLCUjEU2ZHo/Du33N63bjQOjhN/yYM3lBQgHWlKT8NkOD2LKNOz"
    "xzCJYnirrHgsNVF0/J+51vs+2cks+fcuaZ+E+pBK8h4nIb8SQT4B9I0+4DXIFuyVDQvrEjJtW8emprKcJctIEbHsaDbRiG4oEH8Rgi4puiRYyN"
    "ZtR8KCaEPUVVUQ6fxr3+RzLA4A78Mo9OK1LVf0XqD7bDLWzbOwrE5UZq5liaF02Kp98dv5PxagBriXMsYMtsA2Hgeh7ULiO0FCWr2hMnOK6/DN"
    "/H7t7bPfu79VSr+wpuDqfWzy5+U7xq9skNOBx3ViDlVm1svbivlxaoOYM3Q/JKEdWXXdbFulzP988M69ja8qpUs3xq/miq9XSu+9xMbLyZ4NmX"
    "a66a3GbdZE1I4NVGeTgScgQjfVXS/i4Is6iZil9CdO8qyDYAXGRYy+d1Pp0ptTx5+57ftK6fL5M2SW+wsMvNY9e+WuA+//WP8JtL567IO9z1wl"
    "FrEWWG833PE3oETgRV6A/9QFNBmTeFHmhbvtVhtKaed5DIu8JPMAqXG2DtsA1CZJt2WRF4GHbUd26LU6AnVG223sChKv8FC+xnq4A5QOC0yiTN"
    "tQ2QsrAYAdWsMMAtlycp79z3Wh3W8ZxlYm8lApikeJHbNq3mkYt7Z2eza3ie4t/6JJXLkRBG8jbOU22N9CnXV1vUax2wJs02nmexKGcrlTKTex"
    "2vzftxRIGQ=="
)
"""Made by 0.1.0: a dictionary of results, options, an error and the manifest of mini, compressed with zlib."""


@pytest.mark.filterwarnings("ignore:claprt[.]:DeprecationWarning")
def test_pickles_of_010() -> None:
    found = pickle.loads(zlib.decompress(base64.b64decode(PICKLES)))
    vector = np.array([0.6, 0.8], np.float32)
    sound, joint = found["sound"], found["joint"]
    assert type(sound) is claprt.EmbeddedSound
    assert (sound.source, sound.windows.tolist()) == ("dog.wav", [vector.tolist()])
    assert np.array_equal(joint.similarity, [[np.float32(1)]])
    assert (found["classification"].class_names, found["classification"].warning) == (("dog", "rain"), None)
    assert (found["tagging"].tags, found["tagging"].warning) == (("dog", "rain"), None)
    assert found["policy"].label == "windows-5s"
    assert found["precision"] is claprt.Precision.INT8
    assert type(found["error"]) is errors.AudioDecodeError
    mini = claprt.load("mini").manifest
    assert found["manifest"].source.sha256 == mini.source.sha256
    assert found["manifest"].source.trained_words == ""  # of a later version
    assert found["manifest"].audio == mini.audio
    again = pickle.loads(pickle.dumps(found["tagging"]))
    assert (again.tags, again.warning) == (("dog", "rain"), None)
