"""What is said of files that take PyAV to read where it is not installed."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from claprt.audio.sound import open_sound
from claprt.errors import AudioDecodeError

BEGINNINGS = {
    "MPEG-4": b"\0\0\0\x18ftypM4A \0\0\2\0M4A isom" + bytes(64),
    "Matroska/WebM": b"\x1a\x45\xdf\xa3" + bytes(64),
    "ASF": bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c") + bytes(64),
    "WavPack": b"wvpk" + bytes(64),
}


@pytest.mark.parametrize("name", BEGINNINGS)
def test_the_container_and_the_extra_are_named(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in [module for module in sys.modules if module.startswith("claprt.audio.files.media.")]:
        monkeypatch.delitem(sys.modules, module)
    monkeypatch.setitem(sys.modules, "av", None)
    path = tmp_path / "sound.wav"
    path.write_bytes(BEGINNINGS[name])
    for source in (path, BEGINNINGS[name], io.BytesIO(BEGINNINGS[name])):
        with pytest.raises(AudioDecodeError, match=rf"is {name}.*, which is read with PyAV.*: pip install .*\[media\]"):
            open_sound(source, None, 48_000)
