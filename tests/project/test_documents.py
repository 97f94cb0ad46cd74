"""What the documents say is what the code does: examples run, tables come from results, links lead somewhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
import soundfile

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.cli import main
from tests.pages import ROOT, folder_with_files, run_blocks, text_of
from tests.serve.process import Process

DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


_PAGES = (
    "index",
    "tutorial",
    "tasks",
    "timeline",
    "search",
    "library",
    "library-search",
    "inputs",
    "migrate",
    "projection",
    "scores-report",
)
EXAMPLES = ("README.md", *(f"docs/{page}.md" for page in _PAGES))
"""Documents whose Python blocks run, with the small model or a bundle that is called `bundle`."""


@pytest.mark.parametrize("name", EXAMPLES)
def test_examples_run(
    name: str, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All Python blocks of a document, one after the other; a block of text behind one is what it prints."""
    if "sklearn" in text_of(name):
        pytest.importorskip("sklearn", reason="needs scikit-learn")
    if "claprt.library" in text_of(name):
        pytest.importorskip("pyarrow", reason="needs claprt[library]")
    folder_with_files(tmp_path, bundle, empty=name == "docs/tutorial.md")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLAPRT_BUNDLE", "bundle")
    run_blocks(name, capsys)


def test_the_first_answer_is_the_real_one(capsys: pytest.CaptureFixture[str]) -> None:
    """What the tutorial shows of `claprt demo`, number for number."""
    shown = re.findall(r"^    (.+ cosine [+−-][\d.]+)$", text_of("docs/tutorial.md"), re.MULTILINE)
    assert main(["demo"]) == 0
    printed = capsys.readouterr().out
    assert len(shown) == 5
    # bars are as wide as the terminal allows
    assert [re.sub("█+", "█", line) for line in shown] == [
        re.sub("█+", "█", line) for line in printed.splitlines() if " cosine " in line
    ]


@pytest.fixture
def folder_of_sounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder from here on, with sounds that in base64 are longer than an argument may be."""
    for name in ("dog.wav", "street.wav"):
        soundfile.write(tmp_path / name, SOUNDS["rain"](44_100 * 5, 44_100), 44_100)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def shell_commands(document: str, word: str) -> list[str]:
    """The commands in a document's indented blocks that hold a word; lines that continue one are further in."""
    text = (ROOT / "docs" / document).read_text(encoding="utf-8")
    return [found for found in re.findall(r"^    (\S.*(?:\n     +.*)*)", text, re.MULTILINE) if word in found]


@pytest.mark.skipif(not all(map(shutil.which, ("bash", "curl", "base64"))), reason="needs bash, curl and base64")
def test_questions_to_the_service_are_answered(bundle: Path, folder_of_sounds: Path) -> None:
    pytest.importorskip("uvicorn", reason="needs the service's packages (pip install 'claprt[serve]')")
    commands = [command for command in shell_commands("serve.md", "curl ") if not _of_a_library(command)]
    assert len(commands) == 5
    with Process(folder_of_sounds / "log", "--bundle", str(bundle)) as service:
        shown = re.findall(r"fingerprint mini/(\S+)/…", (ROOT / "docs" / "serve.md").read_text(encoding="utf-8"))
        assert shown == ["/".join(service.fingerprint.split("/")[1:4])]
        for command in commands:
            here = command.replace("http://127.0.0.1:32051", service.url(""))
            done = subprocess.run(["bash", "-c", here], check=False, capture_output=True, timeout=60)
            assert done.returncode == 0, done.stderr
            assert {"data", "classes", "tags"} & json.loads(done.stdout).keys(), done.stdout[:300]


@pytest.mark.skipif(not all(map(shutil.which, ("bash", "curl"))), reason="needs bash and curl")
def test_questions_to_several_models_are_answered(bundle: Path, fused_bundle: Path, folder_of_sounds: Path) -> None:
    pytest.importorskip("uvicorn", reason="needs the service's packages (pip install 'claprt[serve]')")
    by_field, by_path, listed = shell_commands("several-models.md", "curl ")
    flags = ["--bundle", f"small={bundle}", "--bundle", f"large={fused_bundle}"]
    with Process(folder_of_sounds / "log", *flags) as service:

        def run(command: str) -> dict[str, Any]:
            here = command.replace("http://127.0.0.1:32051", service.url(""))
            return json.loads(subprocess.run(["bash", "-c", here], check=True, capture_output=True, timeout=60).stdout)

        assert run(by_field)["model"] == "large"
        large = service.said().splitlines()[-1].rpartition(" ")[2]
        assert run(by_path)["fingerprint"] == large != service.fingerprint
        assert [model["id"] for model in run(listed)["data"]] == ["small", "large"]


@pytest.mark.skipif(not all(map(shutil.which, ("bash", "curl"))), reason="needs bash and curl")
def test_searches_of_the_service_are_answered(bundle: Path, folder_of_sounds: Path) -> None:
    pytest.importorskip("uvicorn", reason="needs the service's packages (pip install 'claprt[serve]')")
    pytest.importorskip("numkong", reason="needs the library's packages (pip install 'claprt[library]')")
    by_words, by_sound, audio = (one for one in shell_commands("serve.md", "curl ") if _of_a_library(one))
    assert main(["index", ".", "--out", "samples.lib", "--bundle", str(bundle)]) == 0
    with Process(folder_of_sounds / "log", "--library", "samples.lib", "--allow-audio") as service:

        def run(command: str) -> bytes:
            here = command.replace("http://127.0.0.1:32051", service.url(""))
            return subprocess.run(["bash", "-c", here], check=True, capture_output=True, timeout=60).stdout

        for command in (by_words, by_sound):
            hits = json.loads(run(command))
            assert sorted(Path(hit["path"]).name for hit in hits) == ["dog.wav", "street.wav"]
        run(audio.replace("ID", hits[0]["id"]).replace("-o dog.wav", "-o again.wav"))
        assert Path("again.wav").read_bytes() == Path(Path(hits[0]["path"]).name).read_bytes()


def _of_a_library(command: str) -> bool:
    return "/search" in command or "/library/" in command


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_raw_samples_for_the_client_in_javascript(folder_of_sounds: Path) -> None:
    (command,) = shell_commands("serve.md", "tofile('dog.f32')")
    subprocess.run(["bash", "-c", command.replace("python", sys.executable, 1)], check=True, timeout=60)
    samples = np.fromfile(folder_of_sounds / "dog.f32", "<f4")
    assert samples.size == 16_000 * 5
    assert 0.01 < np.abs(samples).max() <= 1.5


@pytest.mark.skipif(not (ROOT / "benchmarks").is_dir(), reason="needs the repository")
def test_tables_come_from_results() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "table.py"), "--check"]
    assert subprocess.run(command, check=False, capture_output=True).returncode == 0


def test_what_comes_from_the_code_is_up_to_date() -> None:
    """The reference of the command line and the table of models."""
    pytest.importorskip("claprt_export", reason="needs the exporter")
    command = [sys.executable, str(ROOT / "docs" / "generate.py"), "--check"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_environment_variable_is_documented() -> None:
    read = {
        name
        for root in ("runtime", "export")
        for path in (ROOT / root).rglob("*.py")
        for name in re.findall(r'"(CLAP(?:RT)?_[A-Z_]+)"', path.read_text(encoding="utf-8"))
    }
    assert {"CLAPRT_BUNDLE", "CLAPRT_GRAPH_CACHE", "CLAP_DEVICE"} <= read
    documented = set(re.findall(r"`([A-Z_]+)`", text_of("docs/environment.md")))
    assert {name for name in documented if name.startswith("CLAP")} == read


def test_every_endpoint_and_metric_is_documented(clap: claprt.Clap) -> None:
    pytest.importorskip("uvicorn", reason="needs the service's packages (pip install 'claprt[serve]')")
    from starlette.testclient import TestClient

    from claprt.serve import metrics
    from claprt.serve.app import create_app

    reference = text_of("docs/service-api.md")
    library = SimpleNamespace(fingerprint=clap.fingerprint, roots=list)
    document = TestClient(create_app(clap, library=cast("Any", library))).get("/openapi.json").json()
    paths = [path.replace("{name}", "NAME").replace("{id}", "ID") for path in document["paths"]]
    assert "/v1/embeddings" in paths
    assert [path for path in paths if f"{path}`" not in reference] == []
    names = set(re.findall(r"claprt_\w+", Path(metrics.__file__).read_text(encoding="utf-8")))
    assert "claprt_stage_seconds" in names
    assert [name for name in names if f"`{name}" not in reference] == []


def test_the_architecture_names_every_room() -> None:
    shown = set(re.findall(r"`([\w./-]+)`", text_of("docs/architecture.md")))
    for package in ("runtime/claprt", "export/claprt_export"):
        rooms = {f"{package}/{path.parent.name}" for path in (ROOT / package).glob("*/__init__.py")}
        assert len(rooms) > 5
        assert rooms - shown == set()


def test_the_readme_is_short() -> None:
    assert len(text_of("README.md").splitlines()) <= 120


def test_the_index_and_the_navigation_list_every_page() -> None:
    pages = {path.name for path in (ROOT / "docs").glob("*.md")}
    assert set(re.findall(r"\]\(([\w-]+\.md)\)", text_of("docs/index.md"))) == pages - {"index.md"}
    assert set(re.findall(r": ([\w-]+\.md)$", text_of("mkdocs.yml"), re.MULTILINE)) == pages


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    """Links to files and to headings, within the repository."""
    for target, heading in re.findall(r"\]\(([^)#:]*)(?:#([^):]+))?\)", path.read_text(encoding="utf-8")):
        file = path.parent / target if target else path
        assert file.exists(), target
        assert not heading or heading in anchors(file), f"{target}#{heading}"


def anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
