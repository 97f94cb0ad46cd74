"""The page in a real browser: a sound in, bars out, the same as in process, and nothing asked of anybody else."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
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

RATE = 22_050
WORDS = ["rain", "a siren", "a piano, a chord", "speech"]
CAPTION = "the model's input, repeated 3 times and padded with silence to fill 10 s"
DONE = "['done', 'wrong'].includes(document.getElementById('status').dataset.state)"
ROWS = """[...document.querySelectorAll('#answer tbody tr')].map(
  row => ({...row.dataset, shown: row.innerText, active: row.className}))"""
COLOURS = """(canvas => {
  const pixels = new Uint32Array(canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.buffer);
  return new Set(pixels).size;
})(document.getElementById('%s'))"""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sounds") / "rain in may.wav"
    soundfile.write(path, np.stack([SOUNDS["rain"](3 * RATE, RATE)] * 2, 1), RATE)
    return path


@pytest.fixture(scope="module")
def address(serve: Serve) -> str:
    return serve()


def keep(page: Page, name: str) -> None:
    """Puts a picture of the page where somebody wants to look at it."""
    if folder := os.environ.get("CLAPRT_PICTURES"):
        page.run("scrollTo(0, 0)")
        (Path(folder) / f"{name}.png").write_bytes(page.picture())


def assert_clean(page: Page) -> None:
    """No error in the console, and no request to anywhere else."""
    assert page.complaints == []
    for request in page.requests:
        inside = urlsplit(request).scheme in ("blob", "data")  # the recording, and icons of the browser's own player
        assert inside or urlsplit(request).hostname == "127.0.0.1", request
    assert any("/analyse" in request for request in page.requests)


def rows(page: Page) -> list[dict[str, Any]]:
    page.wait_for(DONE)
    assert page.run("document.getElementById('status').textContent") == "Done."
    return page.run(ROWS)


def test_drop_classify_and_tag(page: Page, address: str, mini: claprt.Clap, sound: Path) -> None:
    page.open(address)
    assert mini.fingerprint in page.run("document.getElementById('facts').textContent")
    page.drop("#drop", sound)
    assert len(rows(page)) == 5  # the words that are there to begin with
    page.write("#labels", '["rain", "a siren", "a piano, a chord", "speech"]')
    page.write("#template", "This is a sound of {}.")
    page.run("document.getElementById('status').dataset.state = 'idle'")
    page.click("#ask")
    found = rows(page)
    expected = claprt.classify(sound, labels=WORDS, model=mini, template="This is a sound of {}.")
    assert [row["word"] for row in found] == [WORDS[position] for position in expected.ranking]
    for row in found:
        assert float(row["probability"]) == pytest.approx(expected.get_probability(row["word"]), abs=1e-5)
        share = 100 * float(row["probability"])
        assert ("< 0.1 %" if share < 0.05 else f"{share:.1f} %") in row["shown"]
        assert float(row["cosine"]) == pytest.approx(expected.similarities[WORDS.index(row["word"])], abs=1e-5)
    assert page.run(COLOURS % "mel") > 100
    assert page.run(COLOURS % "wave") > 2
    stages = page.run("[...document.querySelectorAll('#stage-list div')].map(row => row.dataset.stage)")
    assert stages == ["upload", "read", "wait", "tower", "text"]
    assert "22050 Hz" in page.run("document.getElementById('wave-text').textContent")
    assert CAPTION in page.run("document.getElementById('mel-text').textContent")
    keep(page, "classify")

    page.run("document.getElementById('status').dataset.state = 'idle'")
    page.click("input[value=tag]")
    tags = claprt.tag(sound, tags=WORDS, model=mini, template="This is a sound of {}.")
    found = rows(page)
    assert [row["word"] for row in found if row["active"] == "active"] == tags.active_tags
    for row in found:
        assert float(row["probability"]) == pytest.approx(tags.get_probability(row["word"]), abs=1e-5)
    keep(page, "tag")
    assert_clean(page)


@pytest.mark.parametrize(
    ("length_s", "rate", "caption"),
    [
        (7, RATE, "the model's input, padded with silence to fill 10 s"),
        (2.5, 16_000, "the model's input, repeated 4 times to fill 10 s"),
        (2.5, RATE, CAPTION),  # 120001 samples at 48 kHz
        (10, RATE, "the model's input, starting at 0 s"),
    ],
)
def test_the_caption_says_how_a_window_is_filled(
    page: Page, address: str, tmp_path: Path, length_s: float, rate: int, caption: str
) -> None:
    path = tmp_path / "tone.wav"
    soundfile.write(path, SOUNDS["tone"](int(length_s * rate), rate), rate)
    page.open(address)
    page.choose("#file", path)
    rows(page)
    assert caption in page.run("document.getElementById('mel-text').textContent")


def test_choose_with_the_keyboard_on_a_phone_in_the_dark(page: Page, address: str, sound: Path) -> None:
    page.open(address, 375, 740, dark=True)
    page.choose("#file", sound)
    rows(page)
    page.write("#labels", "rain\na dog barking, thunder")
    page.run("document.getElementById('status').dataset.state = 'idle'")
    page.press("Enter", 13, modifiers=2)  # with Ctrl
    assert sorted(row["word"] for row in rows(page)) == ["a dog barking", "rain", "thunder"]
    assert page.run("document.documentElement.scrollWidth") <= 375
    reached: list[str] = []
    for _ in range(9):
        page.press("Tab", 9)
        reached.append(page.run("document.activeElement.id || document.activeElement.value"))
    assert {"template", "classify", "ask"} <= set(reached)
    keep(page, "phone")
    assert_clean(page)


def test_record(page: Page, address: str) -> None:
    page.open(address)
    page.click("#record")
    page.wait_for("parseFloat(document.getElementById('record').textContent.match(/[0-9.]+/)) > 1")
    page.click("#record")
    assert len(rows(page)) == 5
    assert "recording.wav" in page.run("document.getElementById('name').textContent")
    assert page.run("document.getElementById('player').duration") > 1
    assert page.run(COLOURS % "mel") > 100
    keep(page, "record")
    assert_clean(page)


@pytest.mark.parametrize("media", [False, True])
def test_what_the_browser_records(page: Page, address: str, media: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """WebM of a tone that the page plays to itself: decoded by the service, or without the media extra by the browser."""
    if media:
        pytest.importorskip("av", reason="needs PyAV: the media extra")
    else:
        for module in [module for module in sys.modules if module.startswith("claprt.audio.files.media.")]:
            monkeypatch.delitem(sys.modules, module)
        monkeypatch.setitem(sys.modules, "av", None)
    page.open(address)
    page.run("""(async () => {
      const context = new AudioContext();
      const tone = new OscillatorNode(context, { frequency: 2000 });
      const out = context.createMediaStreamDestination();
      tone.connect(out);
      tone.start();
      const recorder = new MediaRecorder(out.stream);
      const parts = [];
      recorder.ondataavailable = event => parts.push(event.data);
      recorder.start();
      await new Promise(resolve => setTimeout(resolve, 1200));
      recorder.stop();
      await new Promise(resolve => { recorder.onstop = resolve; });
      const files = new DataTransfer();
      files.items.add(new File(parts, "tone.webm"));
      document.getElementById("file").files = files.files;
      document.getElementById("file").dispatchEvent(new Event("change"));
    })()""")
    assert len(rows(page)) == 5
    assert "at 48000 Hz" in page.run("document.getElementById('wave-text').textContent")
    assert len([request for request in page.requests if "/analyse" in request]) == (1 if media else 2)
    assert all("status of 400" in complaint for complaint in page.complaints), page.complaints
    keep(page, "webm")


def test_what_goes_wrong_is_said(page: Page, serve: Serve, sound: Path, tmp_path: Path) -> None:
    page.open(serve(token="secret"))
    page.choose("#file", sound)
    page.wait_for(DONE)
    assert "token is needed" in page.run("document.getElementById('status').textContent")
    page.write("#token", "secret")
    page.run("document.getElementById('status').dataset.state = 'idle'")
    page.click("#ask")
    assert len(rows(page)) == 5
    (tmp_path / "broken.wav").write_bytes(b"RIFF, or so it says")
    page.run("document.getElementById('status').dataset.state = 'idle'")
    page.choose("#file", tmp_path / "broken.wav")
    page.wait_for(DONE)
    assert "broken.wav holds no sound" in page.run("document.getElementById('status').textContent")
    assert page.wait_for("document.getElementById('player').hidden")  # there is nothing to play
    assert page.run("[localStorage.length, sessionStorage.length, document.cookie]") == [0, 0, ""]
    assert all("status of 40" in complaint for complaint in page.complaints), page.complaints
    keep(page, "wrong")


def test_an_example_is_there(page: Page, address: str) -> None:
    page.open(address)
    page.click("#example")
    found = rows(page)
    assert found[0]["word"] == "a dog barking"
    assert float(found[0]["probability"]) > 0.9
    headline = page.run("document.getElementById('headline').textContent")
    assert headline.startswith("a dog barking ")
    assert headline.endswith(" %")
    assert page.run("document.getElementById('warning').hidden")
    keep(page, "example")
    assert_clean(page)


def test_the_playhead_follows_the_player(page: Page, address: str, sound: Path) -> None:
    page.open(address)
    page.choose("#file", sound)
    rows(page)
    lines = "[...document.querySelectorAll('.playhead')].map(line => [line.style.visibility, parseFloat(line.style.left)])"
    assert {visibility for visibility, _ in page.run(lines)} == {"hidden"}
    page.run("document.getElementById('player').currentTime = 1.5")
    page.wait_for("document.querySelector('.playhead').style.visibility === 'visible'")
    (_, wave), (over_time, _), (_, mel) = page.run(lines)
    assert over_time == "hidden"  # there is nothing over time
    assert wave == pytest.approx(mel, abs=1)  # one axis of time for both
    page.click("#wave")  # in its middle
    page.wait_for("Math.abs(document.getElementById('player').currentTime - 1.5) > 0.01")
    assert page.run("document.getElementById('player').currentTime") == pytest.approx(1.5, abs=0.3)


def test_words_that_the_model_was_not_trained_on(page: Page, address: str, sound: Path) -> None:
    page.open(address)
    page.choose("#file", sound)
    rows(page)
    assert "speech" in page.run("document.getElementById('training').textContent")
    assert page.run("document.querySelectorAll('.untrained').length") == 0
    page.write("#labels", "speech, rain")
    page.run("document.getElementById('status').dataset.state = 'idle'")
    page.click("#ask")
    assert [row["word"] for row in rows(page) if "not a trained word" in row["shown"]] == ["speech"]
    assert page.run("document.getElementById('warning').hidden")
    page.write("#labels", "speech, politics")
    page.run("document.getElementById('status').dataset.state = 'idle'")
    page.click("#ask")
    rows(page)
    assert "None of these words" in page.run("document.getElementById('warning').textContent")
    keep(page, "untrained")


def test_nothing_old_stays_where_a_question_fails(page: Page, address: str, sound: Path, tmp_path: Path) -> None:
    page.open(address)
    page.choose("#file", sound)
    rows(page)
    (tmp_path / "page.wav").write_text("<!doctype html><html></html>")
    page.run("document.getElementById('status').dataset.state = 'idle'")
    page.choose("#file", tmp_path / "page.wav")
    page.wait_for(DONE)
    hidden = "['answer', 'headline', 'copies', 'pictures', 'times'].map(id => document.getElementById(id).hidden)"
    assert page.run(hidden) == [True] * 5
    page.choose("#file", sound)
    page.wait_for("document.getElementById('status').dataset.state === 'done'")
    page.write("#labels", "")
    page.run("document.getElementById('status').dataset.state = 'idle'")
    page.click("#ask")
    page.wait_for(DONE)
    assert "no labels" in page.run("document.getElementById('status').textContent")
    assert page.run(hidden) == [True, True, True, False, False]


def test_what_is_copied_gives_the_same_answer(page: Page, address: str, mini: claprt.Clap, sound: Path) -> None:
    page.open(address)
    page.run("navigator.clipboard.writeText = async text => { window.copied = text; }")
    page.choose("#file", sound)
    page.write("#labels", '["it\'s rain", "a \\"quoted\\" dog, barking"]')
    page.run("document.getElementById('status').dataset.state = 'idle'")
    page.click("#ask")
    found = rows(page)
    page.click("#copy-python")
    page.wait_for("document.getElementById('copied').textContent === 'Copied.'")
    program = page.run("window.copied")
    done = subprocess.run([sys.executable, "-c", program], cwd=sound.parent, capture_output=True, text=True, check=True)
    word, share = done.stdout.rsplit(maxsplit=1)
    assert word == found[0]["word"]
    assert float(share) == pytest.approx(float(found[0]["probability"]), abs=1e-5)
    if shutil.which("curl") is None or shutil.which("bash") is None:
        return
    page.click("#copy-curl")
    page.wait_for("window.copied.startsWith('curl')")
    command = page.run("window.copied")
    done = subprocess.run(["bash", "-c", command], cwd=sound.parent, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["predicted_class"] == found[0]["word"]


def test_another_model_is_chosen(page: Page, serve: Serve, mini: claprt.Clap, sound: Path) -> None:
    """It is asked about the same sound at once, the address leads to it, and what is copied asks it too."""
    other = claprt.load("mini", preprocess="kromosynth")
    address = serve({"laion": mini, "kromosynth": other})
    page.open(address)
    page.choose("#file", sound)
    first = [row["probability"] for row in rows(page)]
    assert page.run("document.getElementById('model').value") == "laion"
    keep(page, "models")
    page.run("document.getElementById('status').dataset.state = 'idle'")
    page.run("document.getElementById('model').value = 'kromosynth'")
    page.run("document.getElementById('model').dispatchEvent(new Event('change'))")
    page.wait_for("document.getElementById('facts').textContent.startsWith('kromosynth on')")
    found = rows(page)
    expected = claprt.classify(sound, labels=[row["word"] for row in found], model=other)
    shares = [float(row["probability"]) for row in found]
    assert shares == pytest.approx(sorted(expected.probabilities.tolist(), reverse=True), abs=1e-5)
    assert [row["probability"] for row in found] != first
    assert other.fingerprint in page.run("document.getElementById('facts').textContent")
    assert page.run("location.pathname") == "/models/kromosynth/"
    page.run("navigator.clipboard.writeText = async text => { window.copied = text; }")
    page.click("#copy-curl")
    page.wait_for("window.copied")
    assert f"{address}/models/kromosynth/classify" in page.run("window.copied")
    assert_clean(page)
    page.open(f"{address}/models/kromosynth/")
    page.wait_for("document.getElementById('model').value === 'kromosynth'")


def test_one_model_is_no_choice(page: Page, address: str) -> None:
    page.open(address)
    assert page.run("document.getElementById('model-row').hidden")


def test_the_interface_is_described_without_scripts(page: Page, address: str) -> None:
    page.do("Page.navigate", url=f"{address}/docs")
    page.wait_for("document.querySelectorAll('section').length > 8")
    text = page.run("document.body.innerText")
    for word in ("POST /v1/embeddings", "POST /classify", "/clap-bd", "multipart/form-data", "threshold"):
        assert word in text
    assert page.run("document.querySelectorAll('script').length") == 0
    assert {urlsplit(request).hostname for request in page.requests} == {"127.0.0.1"}
    assert page.complaints == []
    keep(page, "api")


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (390, True)])
def test_what_is_heard_when(page: Page, serve: Serve, mini: claprt.Clap, tmp_path: Path, width: int, dark: bool) -> None:
    """Strips and events under the waveform, those of `claprt.timeline`; they go with another question."""
    path = tmp_path / "street.wav"
    soundfile.write(path, np.concatenate([SOUNDS[name](5 * RATE, RATE) for name in ("drums", "tone")]), RATE)
    labels = ["a tone", "drums", "a very long label that does not fit into the width of a telephone's screen"]
    page.open(serve(), width, 844, dark=dark)
    page.write("#labels", json.dumps(labels))
    page.click("input[value=tag]")
    page.choose("#file", path)
    rows(page)
    assert page.run("document.getElementById('line-chart').hidden")
    page.click("#ask-when")
    page.wait_for("!document.getElementById('events').hidden")
    line = claprt.timeline(path, labels=labels, window_s=2, hop_s=0.5, model=mini)
    shown = page.run("[...document.querySelectorAll('#events li')].map(item => item.innerText)")
    assert line.events
    onsets = [float(text.split(" ")[0]) for text in shown]
    assert onsets == pytest.approx([event.onset_s for event in line.events], abs=0.051)
    assert page.run("document.getElementById('line-text').textContent").startswith(f"{len(line.starts_s)} windows of 2 s")
    assert page.run(COLOURS % "line") > 10
    assert page.run("document.documentElement.scrollWidth") <= width
    keep(page, f"over time {width}")
    page.click("#events button")
    page.click("#events li:last-child button")
    page.wait_for("document.querySelectorAll('.playhead')[1].style.visibility === 'visible'")
    assert page.run("document.getElementById('player').currentTime") == pytest.approx(line.events[-1].onset_s, abs=0.1)
    page.run("document.getElementById('status').dataset.state = 'idle'")
    page.click("#ask")
    rows(page)
    assert page.run("document.getElementById('line-chart').hidden && document.getElementById('events').hidden")
    assert_clean(page)
