"""Timelines: vectors of windows, events by two thresholds, files."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import claprt
from claprt.audio.synthetic import SOUNDS
from claprt.errors import AudioError, OptionError, TextError
from claprt.scoring.events import Event, EventDetector, EventOptions

RATE = 48_000
LABELS = ["a tone", "drums", "rain"]


@pytest.fixture(scope="module")
def sound() -> Any:
    return np.concatenate([SOUNDS[name](8 * RATE, RATE) for name in ("rain", "tone", "drums")])[: 23 * RATE + 777]


@pytest.fixture(scope="module")
def line(clap: claprt.Clap, sound: Any) -> claprt.Timeline:
    return claprt.timeline(sound, labels=LABELS, model=clap, sample_rate=RATE, on=0.3)


def test_vectors_are_those_of_the_samples_alone(clap: claprt.Clap, sound: Any, line: claprt.Timeline) -> None:
    assert line.starts_s.tolist() == [*range(14), pytest.approx(13 + 777 / RATE)]
    for start, vector in zip(line.starts_s, line.embeddings, strict=True):
        first = round(start * RATE)
        assert np.array_equal(vector, clap.embed_audio(sound[first : first + 10 * RATE], RATE))


def test_windows_of_a_model_that_was_loaded_with_a_hop(bundle: Path, sound: Any, line: claprt.Timeline) -> None:
    """They share their spectra too, and the mean of the windows is what it was."""
    clap = claprt.load(bundle, hop_s=1.0)
    (embedded,) = clap.iter_audio([sound], RATE)
    assert embedded.starts_s == tuple(line.starts_s)
    assert np.allclose(embedded.windows, line.embeddings, atol=1e-6)  # batches round in another order


def test_a_fused_checkpoint(fused_clap: claprt.Clap, sound: Any) -> None:
    line = claprt.timeline(sound[: 12 * RATE], labels=LABELS, model=fused_clap, sample_rate=RATE)
    assert np.array_equal(line.embeddings[1], fused_clap.embed_audio(sound[RATE : 11 * RATE], RATE))


@pytest.mark.parametrize("window_s", [0.5, 3.0, 10.0])
def test_shorter_windows(clap: claprt.Clap, sound: Any, window_s: float) -> None:
    line = claprt.timeline(
        sound[: 11 * RATE], labels=LABELS, model=clap, sample_rate=RATE, window_s=window_s, hop_s=window_s / 2
    )
    for start, vector in zip(line.starts_s, line.embeddings, strict=True):
        first = round(start * RATE)
        assert np.array_equal(vector, clap.embed_audio(sound[first : first + round(window_s * RATE)], RATE))
    assert line.starts_s[-1] + line.window_s == pytest.approx(line.duration_s)


def test_a_sound_shorter_than_a_window(clap: claprt.Clap, sound: Any) -> None:
    line = claprt.timeline(sound[: 2 * RATE], labels=LABELS, model=clap, sample_rate=RATE)
    assert np.array_equal(line.embeddings[0], clap.embed_audio(sound[: 2 * RATE], RATE))
    assert line.edges_s.tolist() == [0, 2]
    assert (line.window_s, line.duration_s) == (2, 2)


def test_probabilities_are_those_of_tag_and_classify(clap: claprt.Clap, sound: Any, line: claprt.Timeline) -> None:
    window = sound[2 * RATE : 12 * RATE]
    tags = claprt.tag(window, tags=LABELS, model=clap, sample_rate=RATE)
    assert np.array_equal(line.probabilities[2], tags.probabilities)
    assert np.array_equal(line.similarities[2], tags.similarities)
    shares = claprt.timeline(
        sound, labels=LABELS, background=["silence"], scores="classify", model=clap, sample_rate=RATE, hop_s=2
    )
    classified = claprt.classify(window, labels=[*LABELS, "silence"], model=clap, sample_rate=RATE)
    assert np.array_equal(shares.probabilities[1], classified.probabilities[:3])
    assert {event.label for event in shares.events} <= set(LABELS)
    assert (shares.method, line.method) == ("classify", "tag")


def test_shapes_and_edges(clap: claprt.Clap, line: claprt.Timeline) -> None:
    windows = len(line.starts_s)
    assert line.probabilities.shape == line.similarities.shape == (windows, 3)
    assert line.embeddings.shape == (windows, clap.dim)
    assert line.probabilities.dtype == line.similarities.dtype == line.embeddings.dtype == np.float32
    assert line.starts_s.dtype == line.edges_s.dtype == np.float64
    assert line.edges_s.shape == (windows + 1,)
    assert line.edges_s[:3].tolist() == [0, 5.5, 6.5]
    assert line.edges_s[-1] == line.duration_s == 23 + 777 / RATE
    assert np.array_equal(line.curve("rain"), line.probabilities[:, 2])
    assert line.fingerprint == clap.fingerprint


def test_events_can_be_found_again(line: claprt.Timeline) -> None:
    assert line.find_events(on=0.3) == line.events
    everything = line.find_events(on=0.0)
    assert [(event.label, event.onset_s, event.offset_s) for event in everything] == [
        (label, 0.0, line.duration_s) for label in LABELS
    ]
    assert line.find_events(on=1.0, min_duration_s=99) == ()


def detected(curve: list[float], **options: Any) -> list[tuple[float, float, float]]:
    detector, found = EventDetector(("x",), EventOptions(**options)), list[Event]()
    for second, probability in enumerate(curve):
        found += detector.push(second, second + 0.5, np.array([probability], np.float32))
    found += detector.finish(len(curve))
    return [(event.onset_s, event.offset_s, round(event.peak_s, 3)) for event in found]


@pytest.mark.parametrize(
    ("curve", "options", "expected"),
    [
        ([0, 0.45, 0.6, 0.45, 0.3, 0], {}, [(1, 4, 2.5)]),  # from 0.4 to 0.4, since it reaches 0.5
        ([0, 0.45, 0.45, 0], {}, []),  # never reaches it
        ([0.9], {}, [(0, 1, 0.5)]),
        ([0, 0.9, 0.9], {}, [(1, 3, 1.5)]),  # goes on to the end of the sound
        ([0.9, 0, 0.8, 0], {}, [(0, 1, 0.5), (2, 3, 2.5)]),
        ([0.8, 0, 0.9, 0], {"merge_s": 1}, [(0, 3, 2.5)]),
        ([0.9, 0, 0, 0.8], {"merge_s": 1}, [(0, 1, 0.5), (3, 4, 3.5)]),
        ([0.9, 0, 0.45, 0, 0.9], {"merge_s": 1}, [(0, 1, 0.5), (4, 5, 4.5)]),  # what lies between never reached `on`
        ([0.9, 0, 0.45, 0.9], {"merge_s": 1}, [(0, 4, 0.5)]),
        ([0.9, 0, 0.9, 0.9, 0], {"min_duration_s": 2}, [(2, 4, 2.5)]),
        ([0.9, 0, 0.9, 0], {"min_duration_s": 2, "merge_s": 1}, [(0, 3, 0.5)]),  # merged first
        ([0.6, 0.3, 0.6], {"off": 0.2}, [(0, 3, 0.5)]),
    ],
)
def test_two_thresholds(curve: list[float], options: dict[str, Any], expected: list[tuple[float, ...]]) -> None:
    assert detected(curve, **options) == expected


def test_a_finished_event_is_told_as_soon_as_it_is_certain() -> None:
    detector = EventDetector(("x",), EventOptions(merge_s=1.0))
    told = [len(detector.push(second, second, np.array([p], np.float32))) for second, p in enumerate([0.9, 0, 0, 0, 0.9])]
    assert told == [0, 0, 0, 1, 0]
    assert detector.active == ("x",)


@settings(max_examples=60)
@given(
    curve=st.lists(st.sampled_from([0.0, 0.3, 0.42, 0.6, 0.9]), min_size=1, max_size=12),
    merge_s=st.integers(0, 3),
    min_duration_s=st.integers(0, 3),
)
def test_events_by_another_way(curve: list[float], merge_s: int, min_duration_s: int) -> None:
    """Stretches at or above 0.4 that hold 0.5, merged, then filtered: on the whole curve at once."""
    above = [0, *(int(p >= 0.4) for p in curve), 0]
    steps = np.flatnonzero(np.diff(above))
    stretches = [(int(a), int(b)) for a, b in zip(steps[::2], steps[1::2], strict=True) if max(curve[a:b]) >= 0.5]
    merged: list[tuple[int, int]] = []
    for begin, end in stretches:
        if merged and begin - merged[-1][1] <= merge_s:
            merged[-1] = (merged[-1][0], end)
        else:
            merged.append((begin, end))
    expected = [(a, b) for a, b in merged if b - a >= min_duration_s]
    assert [event[:2] for event in detected(curve, merge_s=merge_s, min_duration_s=min_duration_s)] == expected


def test_files(line: claprt.Timeline, tmp_path: Path) -> None:
    for ending in ("json", "csv", "tsv", "txt"):
        line.save(tmp_path / f"line.{ending}")
    plain = json.loads((tmp_path / "line.json").read_text())
    assert plain == json.loads(json.dumps(line.to_dict()))
    assert len(plain["probabilities"]) == len(plain["starts_s"]) == 15
    rows = list(csv.reader(io.StringIO((tmp_path / "line.csv").read_text())))
    assert rows[0] == ["begin_s", "end_s", *LABELS]
    assert rows[2][:2] == ["5.500", "6.500"]
    assert [float(row[4]) for row in rows[1:]] == pytest.approx(line.curve("rain").tolist(), abs=1e-6)
    assert line.events
    header, first, *_ = (tmp_path / "line.tsv").read_text().splitlines()
    assert header == "filename\tonset\toffset\tevent_label"
    event = line.events[0]
    assert first.split("\t")[1:] == [f"{event.onset_s:.3f}", f"{event.offset_s:.3f}", event.label]
    for row, event in zip((tmp_path / "line.txt").read_text().splitlines(), line.events, strict=True):
        onset, offset, label = row.split("\t")
        assert (float(onset), float(offset), label) == (
            pytest.approx(event.onset_s),
            pytest.approx(event.offset_s),
            event.label,
        )


@pytest.mark.seconds
def test_picture(line: claprt.Timeline, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the evaluate extra is not installed")
    line.save(tmp_path / "line.png")
    assert (tmp_path / "line.png").read_bytes().startswith(b"\x89PNG")


def test_a_picture_without_matplotlib(line: claprt.Timeline, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(claprt.ClaprtError, match=r"A picture needs matplotlib: pip install .*evaluate"):
        line.save(tmp_path / "line.png")
    with pytest.raises(OptionError, match=r"line\.wav is not a name for a timeline; let it end in \.json"):
        line.save(tmp_path / "line.wav")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"hop_s": 0}, r"hop_s=0 is not possible; give 0\.1 to 10 seconds"),
        ({"hop_s": 11}, "hop_s=11"),
        ({"hop_s": float("nan")}, "hop_s=nan"),
        ({"hop_s": True}, "hop_s=True"),
        ({"window_s": 10.5}, r"window_s=10\.5"),
        ({"window_s": 2, "hop_s": 3}, "hop_s=3 is not possible; give 0.1 to 2 seconds"),
        ({"on": 1.5}, r"on=1\.5 is not a probability"),
        ({"on": 0.3, "off": 0.4}, r"off=0\.4 is above on=0\.3"),
        ({"merge_s": -1}, "merge_s=-1"),
        ({"min_duration_s": "1"}, "min_duration_s='1'"),
        ({"scores": "softmax"}, "scores='softmax' is not known; choose one of tag, classify"),
        ({"background": ["x"]}, "background has no use"),
        ({"background": ["rain"], "scores": "classify"}, "names 'rain' more than once"),
        ({"template": "x"}, "has no {}"),
        ({"labels": []}, "labels is empty"),
        ({"labels": "rain"}, "one string"),
    ],
)
def test_bad_options(clap: claprt.Clap, options: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        claprt.timeline(np.zeros(10, np.float32), **(dict[str, Any](labels=LABELS, model=clap, sample_rate=RATE) | options))


def test_bad_sounds_and_labels(clap: claprt.Clap, tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="takes one sound"):
        claprt.timeline([np.zeros(9, np.float32)], labels=LABELS, model=clap)  # pyright: ignore[reportArgumentType]
    with pytest.raises(AudioError, match=r"missing\.wav"):
        claprt.timeline(tmp_path / "missing.wav", labels=LABELS, model=clap)
    with pytest.raises(TextError, match="empty"):
        claprt.timeline(np.zeros(9, np.float32), labels=[" "], model=clap)
