"""Streams: the same vectors, probabilities and events as of the sound in one piece; labels that change; silence; errors."""

from __future__ import annotations

import tracemalloc
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import claprt
from claprt import Event, Stream
from claprt.audio.synthetic import SOUNDS
from claprt.errors import AudioError, ClosedError, NonFiniteAudioError, OptionError, SampleRateError, TextError
from claprt.model.stream import StreamWindow
from claprt.scoring.events import in_order

RATE = 16_000
LABELS = ["a tone", "drums", "rain"]


@pytest.fixture(scope="module")
def sound() -> Any:
    """18 seconds of two channels, 16 bits."""
    mono = np.concatenate([SOUNDS[name](6 * RATE, RATE) for name in ("rain", "tone", "drums")])
    return (np.stack([mono, 0.5 * mono[::-1]], axis=1).clip(-1, 1) * 32767).astype(np.int16)


def pushed(stream: Stream, sound: Any, cuts: list[int]) -> tuple[list[StreamWindow], list[Event]]:
    windows, events = list[StreamWindow](), list[Event]()
    for begin, end in pairwise([0, *cuts, len(sound)]):
        result = stream.push(sound[begin:end])
        windows += result.windows
        events += result.events
    last = stream.flush()
    return windows + list(last.windows), events + list(last.events)


@pytest.mark.parametrize(
    "cuts",
    [
        [],
        list(range(1, RATE)),  # one sample at a time, for a second
        list(range(777, 18 * RATE, 777)),
        [5, 5, 9 * RATE + 1, 9 * RATE + 2, 17 * RATE],
    ],
    ids=["in one piece", "single samples", "odd", "mixed"],
)
def test_the_same_as_in_one_piece(clap: claprt.Clap, sound: Any, cuts: list[int]) -> None:
    options: dict[str, Any] = {"labels": LABELS, "on": 0.4, "merge_s": 1.0}
    line = claprt.timeline(sound, model=clap, sample_rate=RATE, **options)
    with clap.stream(sample_rate=RATE, **options) as stream:
        windows, events = pushed(stream, sound, cuts)
    assert [window.start_s for window in windows] == line.starts_s.tolist()
    assert np.array_equal([window.embedding for window in windows], line.embeddings)
    assert np.array_equal([window.probabilities for window in windows], line.probabilities)
    assert line.events
    assert in_order(events, LABELS) == line.events


@pytest.mark.parametrize("rate", [8000, 44_100, 48_000])
def test_short_windows_of_other_rates(clap: claprt.Clap, rate: int) -> None:
    sound = SOUNDS["drums"](3 * rate + 5, rate).astype(np.float32)
    options: dict[str, Any] = {"labels": LABELS, "window_s": 1.0, "hop_s": 0.5}
    line = claprt.timeline(sound, model=clap, sample_rate=rate, **options)
    windows, _ = pushed(clap.stream(sample_rate=rate, **options), sound, list(range(160, 3 * rate, 160)))
    assert np.array_equal([window.embedding for window in windows], line.embeddings)


def test_a_sound_shorter_than_a_window(clap: claprt.Clap, sound: Any) -> None:
    line = claprt.timeline(sound[:RATE], labels=LABELS, model=clap, sample_rate=RATE, on=0.0)
    stream = clap.stream(LABELS, sample_rate=RATE, on=0.0)
    (window,), events = pushed(stream, sound[:RATE], [300])
    assert np.array_equal(window.embedding, line.embeddings[0])
    assert (window.start_s, window.end_s) == (0, 1)
    assert tuple(events) == line.events
    assert window.active == tuple(LABELS)


def test_windows_come_when_they_are_complete(clap: claprt.Clap, sound: Any) -> None:
    stream = clap.stream(LABELS, sample_rate=RATE)
    assert stream.push(sound[: 10 * RATE]).windows == ()  # the resampler still holds the last of it
    assert [window.start_s for window in stream.push(sound[10 * RATE : 11 * RATE]).windows] == [0.0]
    assert stream.duration_s == 11
    window = stream.push(sound[11 * RATE : 12 * RATE]).windows[0]
    assert (window.start_s, window.end_s) == (1.0, 11.0)
    plain = window.to_dict()
    assert plain["probabilities"] == dict(zip(LABELS, window.probabilities.tolist(), strict=True))
    assert set(plain) == {"start_s", "end_s", "probabilities", "similarities", "active"}


def test_flush_and_reset_begin_anew(clap: claprt.Clap, sound: Any) -> None:
    stream = clap.stream(LABELS, sample_rate=RATE, on=0.0)
    first = pushed(stream, sound, [])
    stream.push(sound[: 12 * RATE])
    stream.reset()
    assert stream.duration_s == 0
    second = pushed(stream, sound, [100])
    assert np.array_equal([w.embedding for w in first[0]], [w.embedding for w in second[0]])
    assert first[1] == second[1]
    assert stream.flush().windows == ()
    assert stream.flush().events == ()


def test_labels_change_at_the_next_window(clap: claprt.Clap, sound: Any) -> None:
    stream = clap.stream(LABELS, sample_rate=RATE, on=0.0)
    before = stream.push(sound[: 13 * RATE])
    assert {window.labels for window in before.windows} == {tuple(LABELS)}
    stream.set_labels(["rain", "a siren"])
    assert stream.labels == ("rain", "a siren")
    after = stream.push(sound[13 * RATE : 16 * RATE])
    assert {window.labels for window in after.windows} == {("rain", "a siren")}
    assert after.windows[0].probabilities.shape == (2,)
    change = (before.windows[-1].start_s + after.windows[0].start_s) / 2 + 5
    ended = {event.label: event.offset_s for event in after.events}
    assert ended == {"a tone": change, "drums": change}
    last = {event.label: event.onset_s for event in stream.flush().events}
    assert last == {"rain": 0.0, "a siren": change}  # rain has gone on
    with pytest.raises(OptionError, match="more than once"):
        stream.set_labels(["rain", "rain"])
    assert stream.labels == ("rain", "a siren")


def test_without_labels(clap: claprt.Clap, sound: Any) -> None:
    stream = clap.stream(sample_rate=RATE)
    windows, events = pushed(stream, sound, [])
    assert len(windows) == 9
    assert {window.labels for window in windows} == {()}
    assert events == []
    with pytest.raises(OptionError, match="begun without labels"):
        stream.set_labels(["rain"])


def test_a_bad_block_is_left_out(clap: claprt.Clap, sound: Any) -> None:
    stream = clap.stream(LABELS, sample_rate=RATE)
    stream.push(sound[:777])
    for bad in (sound.T, sound[:, 0], [1, 2], np.array([[np.nan, 0]], np.float32)):
        with pytest.raises(AudioError):
            stream.push(bad)  # pyright: ignore[reportArgumentType]
    windows, _ = pushed(stream, sound[777:], [])
    expected, _ = pushed(stream, sound, [])
    assert np.array_equal([w.embedding for w in windows], [w.embedding for w in expected])


def test_levels_beyond_full_scale_end_the_stream(bundle: Path) -> None:
    clap = claprt.load(bundle, preprocess="transformers")
    stream = clap.stream(LABELS, sample_rate=RATE)
    loud = np.full(11 * RATE, 3e38, np.float32)
    with pytest.raises(NonFiniteAudioError, match="far beyond full scale"):
        stream.push(loud)
    with pytest.raises(AudioError, match=r"cannot go on; reset\(\) begins anew"):
        stream.push(np.zeros(5, np.float32))
    stream.reset()
    stream.push(np.zeros(5, np.float32))


def test_options(clap: claprt.Clap, bundle: Path) -> None:
    for options, message in (
        ({"hop_s": 20}, "hop_s=20"),
        ({"labels": []}, "labels is empty"),
        ({"background": ["x"]}, "background was given without labels"),
        ({"labels": ["x"], "scores": "x"}, "scores='x' is not known"),
    ):
        with pytest.raises(OptionError, match=message):
            clap.stream(**dict[str, Any](options, sample_rate=RATE))
    with pytest.raises(SampleRateError):
        clap.stream(sample_rate=10)
    with pytest.raises(TextError):
        clap.stream([""], sample_rate=RATE)
    with pytest.raises(OptionError, match="divides a sound by its peak"):
        claprt.load(bundle, preprocess="kromosynth").stream(sample_rate=RATE)


def test_a_closed_model(bundle: Path) -> None:
    clap = claprt.load(bundle)
    stream = clap.stream(sample_rate=RATE)
    clap.close()
    with pytest.raises(ClosedError):
        stream.push(np.zeros(1, np.float32))


@pytest.mark.parametrize("minutes", [1, pytest.param(60, marks=pytest.mark.slow)])
def test_silence(clap: claprt.Clap, minutes: int) -> None:
    """Memory stays where it is after the first windows, and nothing is NaN."""
    stream = clap.stream(LABELS, sample_rate=8000, hop_s=2.5, on=0.0)
    block, held, windows = np.zeros((8000, 1), np.int16), list[int](), 0
    for _ in range(15):
        stream.push(block)
    tracemalloc.start()
    for _ in range(60 * minutes - 15):
        result = stream.push(block)
        windows += len(result.windows)
        assert result.events == ()
        for window in result.windows:
            assert np.isfinite(window.probabilities).all()
            assert np.isfinite(window.embedding).all()
            held.append(tracemalloc.get_traced_memory()[0])
    tracemalloc.stop()
    assert windows == len(held) >= 24 * minutes - 8
    assert max(held[3:]) - min(held[3:]) < 3_000_000
    assert [event.offset_s for event in stream.flush().events] == [60 * minutes] * 3
