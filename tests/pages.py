"""Runs the Python blocks of the documents, in a folder with the files that they name."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
import soundfile

from claprt.audio.synthetic import SOUNDS

ROOT = Path(__file__).parents[1]


def text_of(name: str) -> str:
    """A document of the repository."""
    return (ROOT / name).read_text(encoding="utf-8")


def run_blocks(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All Python blocks of a document, one after the other; a block of text behind one is what it prints."""
    namespace: dict[str, object] = {}
    blocks = re.findall(r"^```python\n(.*?)^```(?:\n\n```text\n(.*?)^```)?", text_of(name), re.DOTALL | re.MULTILINE)
    assert len(blocks) >= 1
    for block, printed in blocks:
        capsys.readouterr()
        exec(compile(block, name, "exec", dont_inherit=True), namespace)  # not this module's annotations
        assert not printed or capsys.readouterr().out == printed, block


def folder_with_files(folder: Path, bundle: Path, *, empty: bool) -> None:
    """The files that examples name; none where an example makes its own."""
    shutil.copytree(bundle, folder / "bundle")
    for name, kind, seconds in (
        ("dog.wav", "drums", 1),
        ("dog2.wav", "drums", 2),
        ("horn.wav", "tone", 1),
        ("rain.flac", "rain", 3),
        ("an-hour.flac", "rain", 25),
    ):
        if not empty:
            soundfile.write(folder / name, SOUNDS[kind](44_100 * seconds, 44_100), 44_100)
