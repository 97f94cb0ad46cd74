"""The page of a library in a real browser: words or a sound in, sounds out, heard from where they fit."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest
import soundfile

import claprt
from claprt.audio.synthetic import SOUNDS
from tests.browser.chromium import Page
from tests.browser.conftest import Serve
from tests.serve.memory_library import MemoryLibrary

RATE = 16_000
STATUS = "document.getElementById('status')"
HITS = """[...document.querySelectorAll('.hit')].map(row => ({
  id: row.dataset.id, name: row.querySelector('strong').textContent, shown: row.innerText,
  playing: row.classList.contains('current')}))"""
FOCUSED = "document.activeElement.closest('.hit')?.querySelector('strong').textContent ?? document.activeElement.id"
PLAYER = "document.getElementById('player')"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("library") / "field recordings"
    (folder / "weather").mkdir(parents=True)
    (folder / "animals").mkdir()
    soundfile.write(folder / "weather" / "rain in may.wav", SOUNDS["rain"](3 * RATE, RATE), RATE)
    soundfile.write(folder / "tone.aiff", SOUNDS["tone"](2 * RATE, RATE), RATE)
    dog, rate = soundfile.read(claprt.sample_path("dog"), dtype="float32")
    soundfile.write(folder / "animals" / "dog.flac", dog, rate)
    street = 0.01 * np.random.default_rng(0).normal(size=40 * rate).astype(np.float32)
    street[22 * rate : 22 * rate + dog.size] += dog
    soundfile.write(folder / "animals" / "a long walk through the village with the dog of our neighbours.wav", street, rate)
    for number in range(6):
        tone = SOUNDS["tone"](RATE, RATE) * np.linspace(1, 0, RATE, dtype=np.float32) ** number
        soundfile.write(folder / f"decay {number}.wav", tone, RATE)
    return folder


@pytest.fixture(scope="module")
def library(mini: claprt.Clap, folder: Path) -> MemoryLibrary:
    return MemoryLibrary(mini, folder)


@pytest.fixture(scope="module")
def address(serve: Serve, library: MemoryLibrary) -> str:
    return serve(library=library, allow_audio=True) + "/library"


def test_another_model_is_the_default(page: Page, serve: Serve, library: MemoryLibrary, mini: claprt.Clap) -> None:
    """The page says which model searches, and its hits are that one's."""
    other = claprt.load("mini", preprocess="kromosynth")
    page.open(serve({"kromosynth": other, "laion": mini}, library=library) + "/library")
    page.wait_for("document.getElementById('facts').textContent.startsWith('laion on')")
    assert mini.fingerprint in page.run("document.getElementById('facts').textContent")


def keep(page: Page, name: str) -> None:
    """Puts a picture of the page where somebody wants to look at it."""
    if folder := os.environ.get("CLAPRT_PICTURES"):
        (Path(folder) / f"library-{name}.png").write_bytes(page.picture())


def assert_clean(page: Page) -> None:
    """No error in the console, and no request to anywhere else."""
    assert page.complaints == []
    for request in page.requests:
        inside = urlsplit(request).scheme in ("blob", "data")
        assert inside or urlsplit(request).hostname == "127.0.0.1", request


def hits(page: Page, act: Callable[[], Any] | None = None) -> list[dict[str, Any]]:
    """The sounds that are shown once a search has ended, and before it what starts it."""
    if act is not None:
        page.run(f"{STATUS}.dataset.state = 'idle'")
        act()
    page.wait_for(f"['done', 'wrong'].includes({STATUS}.dataset.state)")
    return page.run(HITS)


def search(page: Page, words: str) -> list[dict[str, Any]]:
    page.write("#text", words)
    return hits(page, lambda: page.press("Enter", 13))


def test_words_and_what_is_heard(page: Page, address: str) -> None:
    page.open(address)
    page.wait_for("document.getElementById('found-title').textContent === '10 sounds'")
    keep(page, "empty")
    found = search(page, "a dog barking")
    assert {hit["name"][:6] for hit in found[:2]} == {"dog.fl", "a long"}
    assert "10 sounds, the best first" in page.run(f"{STATUS}.textContent")
    walk = next(number for number, hit in enumerate(found) if hit["name"].startswith("a long")) + 1
    assert "0:20" in found[walk - 1]["shown"]
    page.click(f".hit:nth-child({walk}) .play")
    page.wait_for(f"!{PLAYER}.paused && {PLAYER}.currentTime > 20")
    assert [hit["name"][:6] for hit in page.run(HITS) if hit["playing"]] == ["a long"]
    page.wait_for("document.querySelector('.hit.current .playhead').style.visibility === 'visible'")
    page.wait_for("document.querySelector('.hit.current canvas').width !== 300")
    keep(page, "playing")
    page.click(f".hit:nth-child({walk}) .play")
    page.wait_for(f"{PLAYER}.paused")
    page.click(f".hit:nth-child({walk}) .chart")  # in its middle
    page.wait_for(f"!{PLAYER}.paused && Math.abs({PLAYER}.currentTime - 20) < 1.5")
    sounds = [request for request in page.requests if request.endswith("/audio")]
    assert len(sounds) > 1  # it is asked for in pieces
    page.click("#stop")
    assert page.wait_for("document.getElementById('bar').hidden")
    assert_clean(page)


def test_a_dropped_sound_and_others_like_it(page: Page, address: str, folder: Path) -> None:
    page.open(address)
    found = hits(page, lambda: page.drop("#drop", folder / "animals" / "dog.flac"))
    assert found[0]["name"] == "dog.flac"
    assert page.run("document.getElementById('parts').innerText.trim()").startswith("like dog.flac")
    tone = next(number for number, hit in enumerate(found) if hit["name"] == "tone.aiff") + 1
    found = hits(page, lambda: page.click(f".hit:nth-child({tone}) .acts button:first-child"))
    assert page.run("document.querySelectorAll('#parts li').length") == 2
    page.click("#parts li:first-child button")
    assert hits(page)[0]["name"] == "tone.aiff"
    assert hits(page, lambda: page.click(".hit:first-child .acts button:last-child")) == []  # nothing it should be like
    assert "Say also what" in page.run(f"{STATUS}.textContent")
    found = search(page, "a dog barking")
    assert [hit["name"] for hit in found[-2:]] != ["tone.aiff"]
    assert page.run("document.querySelector('#parts li.less').innerText").startswith("less like tone.aiff")
    keep(page, "parts")
    assert_clean(page)


@pytest.mark.parametrize("dropped", [False, True])
def test_a_search_that_is_begun_before_the_library_is_known(
    page: Page, address: str, folder: Path, *, dropped: bool
) -> None:
    """It is not undone when what is known of the library arrives: neither what was typed nor a file that was dropped."""
    slow = "const asked = fetch; window.fetch = async (url, ...rest) => { const reply = await asked(url, ...rest);"
    slow += (
        " if (String(url).endsWith('/library/facts')) await new Promise(done => setTimeout(done, 700)); return reply; };"
    )
    page.do("Page.enable")
    added = page.do("Page.addScriptToEvaluateOnNewDocument", source=slow)
    page.open(address)
    if dropped:
        found = hits(page, lambda: page.drop("#drop", folder / "animals" / "dog.flac"))
    else:
        page.write("#text", "a dog barking")
        page.wait_for("document.getElementById('found-title').textContent === '10 sounds'")
        found = hits(page, lambda: page.press("Enter", 13))
    assert found[0]["name"][:6] in {"dog.fl", "a long"}
    page.do("Page.removeScriptToEvaluateOnNewDocument", identifier=added["identifier"])


def test_with_the_keyboard_on_a_phone_in_the_dark(page: Page, address: str) -> None:
    page.open(address, 390, 844, dark=True)
    page.press("/", 191)
    assert page.run(FOCUSED) == "text"
    found = search(page, "a dog barking")
    page.press("ArrowDown", 40)
    assert page.run(FOCUSED) == found[0]["name"]
    page.press("ArrowDown", 40)
    page.press("ArrowDown", 40)
    page.press("ArrowUp", 38)
    assert page.run(FOCUSED) == found[1]["name"]
    page.press("Enter", 13)
    page.wait_for(f"!{PLAYER}.paused && {PLAYER}.currentTime > 0")
    page.press("ArrowRight", 39)
    page.press(" ", 32)
    page.wait_for(f"{PLAYER}.paused")
    page.wait_for("document.querySelector('.hit.current canvas').width !== 300")
    keep(page, "phone")
    page.press("Escape", 27)
    assert page.wait_for("document.getElementById('bar').hidden")
    assert hits(page, lambda: page.press("+", 187))
    assert page.run("document.querySelector('#parts li span').textContent") == f"like {found[1]['name']}"
    assert page.run(FOCUSED) == page.run(HITS)[0]["name"]
    assert page.run("document.documentElement.scrollWidth") <= 390
    keep(page, "phone-parts")
    assert_clean(page)


def test_the_address_holds_the_search(page: Page, address: str, library: MemoryLibrary) -> None:
    tone = next(one for one, (facts, _, _) in library.sounds.items() if facts.path.endswith("tone.aiff"))
    page.open(f"{address}?q=a+dog&unlike={tone}&where=duration_s+%3C+3&k=50")
    names = [hit["name"] for hit in hits(page)]
    assert "dog.flac" in names
    assert not any(name.startswith("a long") for name in names)
    assert "less like tone.aiff" in page.run("document.getElementById('parts').innerText")
    search(page, "rain")
    assert page.run("location.search") == f"?q=rain&where=duration_s+%3C+3&unlike={tone}&k=50"
    hits(page, lambda: page.run("history.back()"))
    assert page.run("document.getElementById('text').value") == "a dog"
    assert [hit["name"] for hit in page.run(HITS)] == names


def test_what_goes_wrong_is_said(page: Page, serve: Serve, mini: claprt.Clap, folder: Path, tmp_path: Path) -> None:
    """A token that is needed, a filter that is none, no sound in a file, a sound that vanished."""
    gone = tmp_path / "gone.flac"
    gone.write_bytes((folder / "animals" / "dog.flac").read_bytes())
    library = MemoryLibrary(mini, folder)
    library.served = [str(folder), str(tmp_path)]
    facts = library.add(gone)
    library.sounds[facts.id] = (replace(facts, duration_s=None), *library.sounds[facts.id][1:])
    gone.unlink()
    page.open(serve(library=library, allow_audio=True, token="secret") + "/library")
    search(page, "a dog barking")
    assert "token is needed" in page.run(f"{STATUS}.textContent")
    page.write("#token", "secret")
    found = hits(page, lambda: page.press("Enter", 13))
    page.wait_for("document.getElementById('found-title').textContent === '11 sounds'")
    places = {hit["name"]: f".hit:nth-child({number + 1}) .play" for number, hit in enumerate(found)}
    page.click(places["dog.flac"])
    page.wait_for(f"!{PLAYER}.paused && {PLAYER}.currentTime > 0 && {PLAYER}.src.startsWith('blob:')")
    page.click(places["gone.flac"])
    page.wait_for(f"{STATUS}.textContent.includes('gone.flac is no longer there')")
    page.click("#more summary")
    page.write("#where", "import os")
    hits(page, lambda: page.press("Enter", 13))
    assert "is not a filter" in page.run(f"{STATUS}.textContent")
    assert page.run(HITS) == []
    keep(page, "wrong")
    page.write("#where", "")
    (tmp_path / "page.wav").write_text("<!doctype html><html></html>")
    hits(page, lambda: page.choose("#file", tmp_path / "page.wav"))
    assert "page.wav holds no sound" in page.run(f"{STATUS}.textContent")
    assert page.run("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    assert all("status of 4" in complaint for complaint in page.complaints), page.complaints


def test_without_audio_there_is_nothing_to_play(page: Page, serve: Serve, library: MemoryLibrary) -> None:
    page.open(serve(library=library) + "/library")
    page.wait_for("document.body.classList.contains('silent')")
    found = search(page, "a dog barking")
    assert len(found) == 10
    assert page.run("[...document.querySelectorAll('.play, .chart')].every(one => one.offsetParent === null)")
    page.press("ArrowDown", 40)
    page.press("-", 189)
    page.wait_for("document.querySelector('#parts li.less') !== null")
    assert not any("/audio" in request or "/peaks" in request for request in page.requests)
    keep(page, "silent")
    assert_clean(page)


def test_each_page_leads_to_the_other(page: Page, address: str) -> None:
    page.open(address)
    page.click("header nav a")
    page.wait_for("document.getElementById('labels') && document.getElementById('library')?.hidden === false")
    page.click("#library a")
    page.wait_for("document.getElementById('hits') && document.getElementById('facts')?.textContent.length > 5")
    assert_clean(page)
