"""What the documents say is what the code does: examples run, tables come from results, links lead somewhere."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile

from claprt.cli import main
from claprt.synthetic import SOUNDS
from tests.serve.process import Process

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def test_readme_examples_run(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All Python blocks but those for a server, one after the other, in a folder with the files they name."""
    sections = re.split(r"^(?=## )", (ROOT / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    here = "".join(section for section in sections if not section.startswith("## Serve it with Triton"))
    blocks = re.findall(r"```python\n(.*?)```", here, re.DOTALL)
    assert len(blocks) >= 2
    shutil.copytree(bundle, tmp_path / "bundle")
    for name, seconds in (("dog.wav", 1), ("rain.flac", 3), ("an-hour.flac", 25)):
        soundfile.write(tmp_path / name, SOUNDS["rain"](44_100 * seconds, 44_100), 44_100)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLAPRT_BUNDLE", "bundle")
    namespace: dict[str, object] = {}
    for block in blocks:
        exec(compile(block, "README.md", "exec"), namespace)
    assert np.asarray(namespace["sounds"]).shape == np.asarray(namespace["texts"]).shape == (2, 512)
    assert np.asarray(namespace["vector"]).shape == (512,)


def test_the_first_answer_is_the_real_one(capsys: pytest.CaptureFixture[str]) -> None:
    """What the README shows of `claprt demo`, number for number."""
    shown = re.findall(r"^    (.+ cosine [+−-][\d.]+)$", (ROOT / "README.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert main(["demo"]) == 0
    printed = capsys.readouterr().out
    assert len(shown) == 5
    # bars are as wide as the terminal allows
    assert [re.sub("█+", "█", line) for line in shown] == [
        re.sub("█+", "█", line) for line in printed.splitlines() if " cosine " in line
    ]


def test_examples_of_tasks_run(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("sklearn", reason="needs scikit-learn")
    shutil.copytree(bundle, tmp_path / "bundle")
    for name, kind in (
        ("dog.wav", "drums"),
        ("dog2.wav", "drums"),
        ("horn.wav", "tone"),
        ("sea.wav", "rain"),
        ("rain.flac", "rain"),
    ):
        soundfile.write(tmp_path / name, SOUNDS[kind](44_100, 44_100), 44_100)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("CLAPRT_BUNDLE", "bundle")
    namespace: dict[str, object] = {}
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "tasks.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) >= 5
    for block in blocks:
        exec(compile(block, "docs/tasks.md", "exec"), namespace)
    assert np.asarray(namespace["index"]).shape == (4, 512)
    assert len(np.asarray(namespace["groups"])) == 4


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
    commands = shell_commands("serve.md", "curl ")
    assert len(commands) == 5
    with Process(folder_of_sounds / "log", "--bundle", str(bundle)) as service:
        shown = re.findall(r"fingerprint mini/(\S+)/…", (ROOT / "docs" / "serve.md").read_text(encoding="utf-8"))
        assert shown == ["/".join(service.fingerprint.split("/")[1:4])]
        for command in commands:
            here = command.replace("http://127.0.0.1:32051", service.url(""))
            done = subprocess.run(["bash", "-c", here], check=False, capture_output=True, timeout=60)
            assert done.returncode == 0, done.stderr
            assert {"data", "classes", "tags"} & json.loads(done.stdout).keys(), done.stdout[:300]


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


def test_make_help_lists_every_verb() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    phony = set(re.search(r"^\.PHONY: (.*)$", makefile, re.MULTILINE)[1].split())  # pyright: ignore[reportOptionalSubscript]
    described = set(re.findall(r"^([a-z-]+):.*## ", makefile, re.MULTILINE))
    assert phony == described


def test_no_document_names_this_machine() -> None:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=False).stdout.split()
    for name in listed:
        if name.endswith((".md", ".py", ".toml", ".txt", "Makefile")):
            text = (ROOT / name).read_text(encoding="utf-8")
            assert "/work" + "/" not in text, name
