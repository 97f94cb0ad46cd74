"""Drums, strings, bells and keyboards."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from claprt_export.synthesis.classes.registry import kind
from claprt_export.synthesis.signals import (
    Random,
    Signal,
    band,
    between,
    clock,
    decay,
    harmonic,
    moving_band,
    phase,
    place,
    regular,
    ringing,
    sawtooth,
    sine,
    square,
    swell,
)


def _drum(random: Random, seconds: float, hit: Callable[[], Signal]) -> Signal:
    """One hit, or a row of them."""
    if random.random() < 0.4:
        return place(seconds, np.array([random.uniform(0, 0.2)]), lambda _: hit())
    return place(seconds, regular(random, seconds, between(random, 0.8, 5), 0.01), lambda _: hit())


@kind(
    "a kick drum | a bass drum | a deep kick | a kick drum hit | a thumping bass drum | an 808 kick",
    "a booming kick drum | a low bass drum thump",
)
def _kick_drum(random: Random, seconds: float) -> Signal:
    low, drop, fall = between(random, 38, 70), between(random, 60, 300), between(random, 15, 60)
    length, click = between(random, 4, 14), random.uniform(0, 0.3)

    def hit() -> Signal:
        time = clock(0.8)
        tail = sine(phase(low + drop * np.exp(-fall * time), time)) * decay(time, length)
        return tail + click * random.standard_normal(time.size) * np.exp(-400 * time)

    return _drum(random, seconds, hit)


@kind(
    "a snare drum | a snare hit | a snappy snare | a snare drum stroke | a rattling snare",
    "a crisp snare drum hit | a cracking snare",
)
def _snare_drum(random: Random, seconds: float) -> Signal:
    pitch, length, noise = between(random, 150, 260), between(random, 12, 30), random.uniform(0.6, 1.4)

    def hit() -> Signal:
        time = clock(0.5)
        body = sine(phase(pitch * (1 + 0.5 * np.exp(-40 * time)), time)) * decay(time, 22)
        return body + noise * band(random.standard_normal(time.size), 900, 9000) * decay(time, length)

    return _drum(random, seconds, hit)


@kind(
    "a closed hi-hat | a hi-hat | a ticking hi-hat | closed hi-hats | a short hi-hat tick",
    "a tight hi-hat | a crisp closed hat",
)
def _closed_hi_hat(random: Random, seconds: float) -> Signal:
    length, low = between(random, 40, 120), between(random, 5000, 9000)
    return _drum(
        random, seconds, lambda: band(random.standard_normal(9600), low, 16000) * decay(clock(0.2), length, 0.0005)
    )


@kind(
    "a crash cymbal | a cymbal crash | a cymbal | an open hi-hat | a washing cymbal | a ringing cymbal",
    "a loud cymbal crash | a splashing cymbal",
)
def _cymbal(random: Random, seconds: float) -> Signal:
    length, partials = between(random, 1.2, 5), between(random, 300, 600) * np.array([1, 1.41, 1.87, 2.53, 3.17, 4.71, 6.3])

    def hit() -> Signal:
        time = clock(3.0)
        metal = sum((square(phase(p * 4, time), p * 4) for p in partials), np.zeros_like(time))
        return (band(random.standard_normal(time.size), 3000, 15000) + 0.2 * band(metal, 3000, 14000)) * decay(time, length)

    return _drum(random, seconds, hit)


@kind(
    "a tom drum | a tom-tom | tom drums | a tom hit | a rolling tom | a floor tom",
    "a resonant tom-tom hit | a deep tom drum",
)
def _tom_drum(random: Random, seconds: float) -> Signal:
    length = between(random, 5, 12)

    def hit() -> Signal:
        time, pitch = clock(0.8), between(random, 80, 220)
        return sine(phase(pitch * (1 + 0.4 * np.exp(-15 * time)), time)) * decay(time, length) + 0.05 * band(
            random.standard_normal(time.size), 200, 3000
        ) * decay(time, 40)

    return _drum(random, seconds, hit)


@kind(
    "a hand clap | clapping | hand claps | a clap | people clapping once | a handclap",
    "a sharp handclap | clapping hands",
)
def _hand_clap(random: Random, seconds: float) -> Signal:
    centre = between(random, 900, 1800)

    def hit() -> Signal:
        time = clock(0.4)
        spread = sum((decay(np.maximum(time - d, 0), 180) * (time >= d) for d in (0, 0.011, 0.022)), np.zeros_like(time))
        return band(random.standard_normal(time.size), centre * 0.7, centre * 2) * (spread + 0.6 * decay(time, 25))

    return _drum(random, seconds, hit)


@kind("a cowbell | a cowbell hit | a clanking cowbell | a metal cowbell", "a struck cowbell | a percussive cowbell")
def _cowbell(random: Random, seconds: float) -> Signal:
    pitch, length = between(random, 480, 640), between(random, 8, 20)

    def hit() -> Signal:
        time = clock(0.6)
        tone = square(phase(pitch, time), pitch) + square(phase(pitch * 1.48, time), pitch)
        return band(tone, 400, 5000) * decay(time, length)

    return _drum(random, seconds, hit)


@kind(
    "a drum loop | a drum beat | a drum machine pattern | a rhythmic beat | a breakbeat | drums playing a groove",
    "a rhythm on a drum kit | a looping drum pattern",
)
def _drum_loop(random: Random, seconds: float) -> Signal:
    step = 60 / between(random, 80, 170) / 4
    starts = np.arange(0, seconds, step)
    parts = [(_kick_drum, [0, 6, 8] if random.random() < 0.5 else [0, 4, 8, 12], 1.0), (_snare_drum, [4, 12], 0.7),
             (_closed_hi_hat, list(range(0, 16, int(random.choice([1, 2])))), 0.3)]  # fmt: skip
    out = np.zeros(clock(seconds).size)
    for make, places, level in parts:
        one = make(random, 0.5)
        one = one / max(float(np.abs(one).max()), 1e-9) * level
        out += place(seconds, starts[np.isin(np.arange(starts.size) % 16, places)], lambda _, one=one: one)
    return out


def _string(random: Random, pitch: float, length: float) -> Signal:
    brightness, stiff = random.uniform(0.5, 1.3), random.uniform(0, 3e-4)
    n = np.arange(1.0, min(25, int(16000 / pitch)))
    return ringing(pitch * n * np.sqrt(1 + stiff * n * n), length * (1 + 0.25 * n), n**-brightness, 3.0)


@kind(
    "a plucked string | a string being plucked | a plucked guitar string | a harp-like pluck | a single plucked note",
    "plucking a string | a pizzicato string note",
)
def _plucked_string(random: Random, seconds: float) -> Signal:
    starts = regular(random, seconds, between(random, 0.4, 4), 0.05)
    root, length = between(random, 80, 500), between(random, 0.8, 4)
    return place(seconds, starts, lambda _: _string(random, root * 2 ** (random.integers(0, 13) / 12), length))


@kind(
    "a strummed guitar chord | a guitar strum | strumming a guitar | an acoustic guitar chord | strummed strings",
    "a guitar being strummed | a strum of guitar strings",
)
def _guitar_strum(random: Random, seconds: float) -> Signal:
    def strum(_: int) -> Signal:
        root = between(random, 80, 180)
        notes = root * 2 ** (np.array([0, 7, 12, 16 if random.random() < 0.5 else 15, 19, 24]) / 12)
        late = random.uniform(0.01, 0.04)
        return place(3.0, np.arange(6) * late, lambda n: _string(random, float(notes[n]), 1.5))

    return place(seconds, regular(random, seconds, between(random, 0.4, 1.6), 0.02), strum)


@kind(
    "a bell | an FM bell | a ringing bell | a bright bell | a chiming bell | a bell tone",
    "the ring of a bell | a shimmering bell sound",
)
def _bell(random: Random, seconds: float) -> Signal:
    ratio, index, length = random.choice([1.4, 2.76, 3.5]), random.uniform(2, 8), between(random, 0.6, 3)

    def strike(_: int) -> Signal:
        time, pitch = clock(4.0), between(random, 300, 1200)
        return np.sin(2 * np.pi * phase(pitch, time) + index * decay(time, 2.0) * sine(phase(pitch * ratio, time))) * decay(
            time, length
        )

    return place(seconds, regular(random, seconds, between(random, 0.3, 2), 0.05), strike)


@kind(
    "a gong | a large gong | a gong being struck | a deep church bell | a low resonant gong",
    "a struck gong | a huge resonating gong",
)
def _gong(random: Random, seconds: float) -> Signal:
    def strike(_: int) -> Signal:
        pitch = between(random, 60, 160)
        ratios = np.array([0.5, 1, 1.19, 1.56, 2, 2.51, 2.66, 3.01, 4.1, 5.3]) * random.uniform(0.98, 1.02, 10)
        tone = ringing(pitch * ratios, 0.3 + 0.25 * ratios, 1 / (1 + 0.3 * ratios), 6.0)
        return tone * np.minimum(clock(6.0) / 0.02, 1)

    return place(seconds, regular(random, seconds, between(random, 0.15, 0.5), 0.05), strike)


@kind(
    "a marimba | a xylophone | marimba notes | a wooden mallet instrument | a xylophone melody",
    "mallets on a marimba | wooden xylophone bars",
)
def _marimba(random: Random, seconds: float) -> Signal:
    root, length = between(random, 200, 600), between(random, 6, 16)

    def note(_: int) -> Signal:
        time, pitch = clock(0.8), root * 2 ** (random.choice([0, 2, 4, 7, 9, 12]) / 12)
        return (sine(phase(pitch, time)) + 0.3 * sine(phase(4 * pitch, time)) * np.exp(-30 * time)) * decay(time, length)

    return place(seconds, regular(random, seconds, between(random, 1.5, 6), 0.02), note)


@kind(
    "an organ | an organ chord | a church organ | a sustained organ tone | a pipe organ",
    "a held organ chord | pipe organ music",
)
def _organ(random: Random, seconds: float) -> Signal:
    time, root = clock(seconds), between(random, 65, 300)
    drawbars = np.zeros(16)
    drawbars[[0, 1, 2, 3, 5, 7]] = random.uniform(0.2, 1, 6)
    notes = root * 2 ** (np.array([0, 4, 7, 12][: int(random.integers(1, 5))]) / 12)
    vibrato = 1 + random.uniform(0, 0.004) * sine(phase(6.0, time))
    return sum((harmonic(phase(n * vibrato, time), drawbars, float(n)) for n in notes), 0 * time) * swell(time, 0.05, 0.1)


@kind(
    "an electric piano | a Rhodes piano | electric piano notes | a soft electric piano chord",
    "a mellow Rhodes | an electric keyboard note",
)
def _electric_piano(random: Random, seconds: float) -> Signal:
    root = between(random, 130, 400)

    def note(_: int) -> Signal:
        time, out = clock(2.5), np.zeros(clock(2.5).size)
        for step in random.choice([0, 3, 4, 7, 10, 12], int(random.integers(1, 4)), replace=False):
            pitch = root * 2 ** (step / 12)
            out += np.sin(
                2 * np.pi * phase(pitch, time)
                + 1.2 * decay(time, 3) * sine(phase(pitch * 14 if pitch < 900 else pitch, time))
            )
        return out * decay(time, 1.5)

    return place(seconds, regular(random, seconds, between(random, 0.6, 3), 0.02), note)


@kind(
    "a flute | a flute melody | a flute note | a breathy flute | someone playing the flute",
    "a soft flute tone | a wooden flute",
)
def _flute(random: Random, seconds: float) -> Signal:
    time, rate = clock(seconds), between(random, 0.8, 4)
    steps = np.array([0, 2, 4, 5, 7, 9, 11, 12])[random.integers(0, 8, 64)]
    step = np.minimum((time * rate).astype(int), 63)
    frequency = between(random, 300, 800) * 2 ** (steps[step] / 12) * (1 + 0.006 * sine(phase(5.5, time)))
    breath = moving_band(random, time, frequency * 2, 200) * 0.08
    envelope = np.clip((time * rate % 1) * 12, 0, 1) * np.clip((1 - time * rate % 1) * 8, 0, 1)
    return (harmonic(phase(frequency, time), np.array([1, 0.25, 0.12, 0.03]), 1600) + breath) * envelope


@kind(
    "a string pad | a synthesizer pad | slow strings | an ambient pad | a lush synth pad",
    "a warm ambient synth pad | sustained synthetic strings",
)
def _string_pad(random: Random, seconds: float) -> Signal:
    time, root = clock(seconds), between(random, 80, 250)
    out = np.zeros(time.size)
    for step in random.choice([0, 3, 4, 7, 9, 12, 16], 3, replace=False):
        for _ in range(3):
            pitch = root * 2 ** (step / 12) * random.uniform(0.993, 1.007)
            out += sawtooth(phase(pitch, time) + random.random(), pitch)
    return band(out, 60, between(random, 700, 3000)) * swell(time, min(1.0, seconds / 3), min(1.0, seconds / 3))
