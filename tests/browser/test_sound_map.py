"""The page of `claprt map` in Chromium: hover, listen, find, keyboard."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile

from claprt.audio.synthetic import SOUNDS
from claprt.library.sound_map import SoundMap, write_map
from tests.browser.chromium import Page

NAMES = ("tone 1.wav", "drums #2.wav", "rain.wav")


@pytest.fixture
def sound_map(tmp_path: Path) -> Path:
    """A page of three sounds, in three corners, and of one that is no file by itself."""
    files = [tmp_path / "sounds" / name for name in NAMES]
    files[0].parent.mkdir()
    for file in files:
        soundfile.write(file, SOUNDS[file.stem.partition(" ")[0]](44_100, 44_100), 44_100)
    sounds = SoundMap(
        points=np.array([[0, 0], [1, 0], [0, 1], [1, 1]], np.float32),
        paths=(*map(str, files), "s3://bucket/far.wav"),
        durations_s=(1.0, 1.0, 1.0, None),
        clusters=(0, 0, 1, 1),
        labels=("near", "<b>far</b>"),
        total=9,
    )
    write_map(sounds, tmp_path / "pages.html", "Sounds & more")
    return tmp_path / "pages.html"


def point_at(page: Page, number: int, *, click: bool = False) -> None:
    place = f"const box = canvas.getBoundingClientRect(), p = place(sounds[{number}])"
    script = f"(() => {{ {place}; return [box.x + p[0], box.y + p[1]]; }})()"
    x, y = page.run(script)
    page.do("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    for kind in ("mousePressed", "mouseReleased") if click else ():
        page.do("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def test_the_map_is_looked_at_and_listened_to(page: Page, sound_map: Path) -> None:
    page.resize(900, 700)
    page.do("Page.navigate", url=sound_map.as_uri())
    page.wait_for("document.readyState === 'complete' && document.title === 'Sounds & more'")
    assert page.run("get('count').textContent") == "4 sounds of 9, drawn by lot, 2 groups"
    point_at(page, 2)
    page.wait_for(f"get('name').textContent.includes({NAMES[2]!r})")
    assert "near “<b>far</b>” · 0:01" in page.run("get('name').innerText")
    point_at(page, 1, click=True)
    page.wait_for("audio.currentTime > 0 || audio.ended")
    assert page.run("audio.src").endswith("/sounds/drums%20%232.wav")
    point_at(page, 3, click=True)
    page.wait_for("get('wrong').textContent.includes('not a file by itself')")
    page.run("canvas.focus()")
    page.press("ArrowLeft", 37)
    page.wait_for(f"get('name').textContent.includes({NAMES[2]!r})")
    page.press("Enter", 13)
    page.wait_for("audio.src.endsWith('/sounds/rain.wav') && get('wrong').textContent === ''")
    page.write("#find", "drums")
    page.wait_for("get('count').textContent.startsWith('1 sounds')")
    assert page.run("chosen") == -1  # what was chosen is hidden
    page.resize(390, 800)
    page.wait_for("canvas.clientWidth < 390 && document.documentElement.scrollWidth <= 390")
    (sound_map.parent / "sounds" / NAMES[1]).unlink()
    point_at(page, 1, click=True)
    page.wait_for("get('wrong').textContent.includes('cannot play')")
    outside = [address for address in page.requests if not address.startswith(("file:", "data:"))]
    assert outside == []
