"""Tones and noises: what oscillators and noise generators give."""

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
    coloured,
    decay,
    moving_band,
    phase,
    sawtooth,
    sine,
    square,
    swell,
    triangle,
)


def _steady(random: Random, seconds: float, wave: Callable[[Signal, float], Signal]) -> Signal:
    """A held note: one pitch, or a few one after the other."""
    time, low = clock(seconds), between(random, 70, 1500)
    if random.random() < 0.25:
        steps = np.array([0, 2, 4, 5, 7, 12])[random.integers(0, 6, 32)]
        frequency = low * 2 ** (steps[np.minimum((time / random.uniform(0.2, 0.8)).astype(int), 31)] / 12)
    else:
        frequency = np.full(time.shape, low)
    return wave(phase(frequency, time), float(frequency.max())) * swell(time, random.uniform(0.005, 0.3), 0.05)


@kind(
    "a sine tone | a pure tone | a sine wave | a sinusoidal tone | a plain sine beep | a clean test tone | a steady pure sine",
    "a pure sinusoid | a smooth sine oscillator",
)
def _sine_tone(random: Random, seconds: float) -> Signal:
    return _steady(random, seconds, lambda cycles, _: sine(cycles))


@kind(
    "a square wave | a square wave tone | a hollow square oscillator | a chiptune square tone | a buzzing square wave",
    "a square-wave synthesizer note | an 8-bit square tone",
)
def _square_wave(random: Random, seconds: float) -> Signal:
    return _steady(random, seconds, square)


@kind(
    "a sawtooth wave | a saw wave | a bright sawtooth tone | a buzzing saw oscillator | a sawtooth synthesizer",
    "a saw synth note | a raw sawtooth oscillator",
)
def _sawtooth_wave(random: Random, seconds: float) -> Signal:
    return _steady(random, seconds, sawtooth)


@kind(
    "a triangle wave | a triangle wave tone | a mellow triangle oscillator | a soft triangle tone",
    "a triangle-wave note | a gentle triangle oscillator",
)
def _triangle_wave(random: Random, seconds: float) -> Signal:
    return _steady(random, seconds, triangle)


@kind(
    "a rising sweep | an upward chirp | a tone gliding upwards | a rising chirp | an ascending sine sweep | a pitch going up",
    "a frequency sweep upwards | a tone that rises in pitch",
)
def _rising_sweep(random: Random, seconds: float) -> Signal:
    return _sweep(random, seconds, up=True)


@kind(
    "a falling sweep | a downward chirp | a tone gliding downwards | a falling chirp | a descending sine sweep | a pitch going down",
    "a frequency sweep downwards | a tone that falls in pitch",
)
def _falling_sweep(random: Random, seconds: float) -> Signal:
    return _sweep(random, seconds, up=False)


def _sweep(random: Random, seconds: float, *, up: bool) -> Signal:
    time = clock(seconds)
    low, high = between(random, 60, 600), between(random, 2000, 12000)
    part = (time / (seconds if random.random() < 0.6 else random.uniform(0.4, 2.0))) % 1.0
    part = part if up else 1 - part
    frequency = low * (high / low) ** part if random.random() < 0.6 else low + (high - low) * part
    return sine(phase(frequency, time)) * swell(time, 0.01, 0.02)


@kind(
    "white noise | a hiss of white noise | flat white noise | static noise | steady white noise | television static",
    "broadband hiss | pure white static",
)
def _white_noise(random: Random, seconds: float) -> Signal:
    return coloured(random, clock(seconds).size, 0.0)


@kind(
    "pink noise | soft pink noise | steady pink noise | a wash of pink noise", "balanced pink noise | constant pink noise"
)
def _pink_noise(random: Random, seconds: float) -> Signal:
    return coloured(random, clock(seconds).size, 1.0)


@kind(
    "brown noise | brownian noise | deep brown noise | red noise | a low rumbling noise",
    "deep rumbling brown noise | low brownian rumble",
)
def _brown_noise(random: Random, seconds: float) -> Signal:
    return coloured(random, clock(seconds).size, 2.0)


@kind("blue noise | bright blue noise | azure noise | a high thin hiss", "sharp blue noise | a thin high-pitched hiss")
def _blue_noise(random: Random, seconds: float) -> Signal:
    return coloured(random, clock(seconds).size, -1.0)


@kind(
    "a whoosh | a swoosh of air | a sweeping whoosh | wind-like swooshes | a passing swoosh",
    "swooshing air | a swishing sweep of noise",
)
def _whoosh(random: Random, seconds: float) -> Signal:
    time, rate = clock(seconds), between(random, 0.3, 1.5)
    wave = 0.5 - 0.5 * np.cos(2 * np.pi * (rate * time + random.random()))
    centre = between(random, 300, 900) * (between(random, 3, 10) ** wave)
    return moving_band(random, time, centre, between(random, 100, 500)) * wave**2


def _chord(random: Random, seconds: float, steps: list[int]) -> Signal:
    time, root = clock(seconds), between(random, 130, 450)
    wave: Callable[[Signal, float], Signal] = random.choice(np.array([sawtooth, triangle, square], dtype=object))
    notes = [root * 2 ** (step / 12) for step in steps]
    shape = (
        decay(time % random.uniform(0.8, 3), between(random, 0.5, 2), 0.01)
        if random.random() < 0.5
        else swell(time, 0.1, 0.2)
    )
    return sum((wave(phase(n, time), n) for n in notes), 0 * time) * shape


@kind(
    "a major chord | a happy major chord | a bright major triad | a synthesizer playing a major chord",
    "a cheerful major triad | a consonant major chord",
)
def _major_chord(random: Random, seconds: float) -> Signal:
    return _chord(random, seconds, [0, 4, 7, 12])


@kind(
    "a minor chord | a sad minor chord | a dark minor triad | a synthesizer playing a minor chord",
    "a melancholy minor triad | a gloomy minor chord",
)
def _minor_chord(random: Random, seconds: float) -> Signal:
    return _chord(random, seconds, [0, 3, 7, 12])


@kind(
    "a dissonant cluster | a dissonant chord | clashing notes | a harsh tone cluster",
    "jarring dissonant notes | an atonal cluster chord",
)
def _dissonant_cluster(random: Random, seconds: float) -> Signal:
    return _chord(random, seconds, [0, 1, 2, 6])


@kind(
    "an arpeggio | a synthesizer arpeggio | a fast sequence of notes | an arpeggiated synth | an electronic arpeggio",
    "arpeggiated synth notes | a running arpeggio pattern",
)
def _arpeggio(random: Random, seconds: float) -> Signal:
    time, rate, root = clock(seconds), between(random, 5, 14), between(random, 110, 440)
    pattern = np.array(random.choice(np.array([[0, 4, 7, 12], [0, 3, 7, 12], [0, 7, 12, 19], [12, 7, 3, 0]])))
    frequency = root * 2 ** (pattern[(time * rate).astype(int) % 4] / 12)
    wave = square if random.random() < 0.5 else sawtooth
    return wave(phase(frequency, time), root * 3) * np.exp(-random.uniform(2, 6) * (time * rate % 1))


@kind(
    "a tremolo | a trembling tone | a tone with tremolo | a pulsating tone | a wavering volume",
    "a note whose loudness trembles | a throbbing tremolo tone",
)
def _tremolo(random: Random, seconds: float) -> Signal:
    time, pitch, rate = clock(seconds), between(random, 110, 900), between(random, 3, 12)
    return triangle(phase(pitch, time), pitch) * (0.5 + 0.5 * sine(phase(rate, time)))


@kind(
    "a vibrato tone | a tone with vibrato | a wobbling pitch | a singing vibrato note",
    "a note whose pitch wobbles | a wavering pitch",
)
def _vibrato(random: Random, seconds: float) -> Signal:
    time, pitch = clock(seconds), between(random, 180, 900)
    depth, rate = random.uniform(0.03, 0.12), between(random, 4, 9)
    return triangle(phase(pitch * (1 + depth * sine(phase(rate, time))), time), pitch)


@kind(
    "a wobble bass | a dubstep bass | a growling wobbling bass | a modulated bass synth",
    "a wobbly dubstep bass | a filtered growling bass",
)
def _wobble_bass(random: Random, seconds: float) -> Signal:
    time, pitch, rate = clock(seconds), between(random, 40, 90), between(random, 1.5, 8)
    wave = 0.5 + 0.5 * sine(phase(rate, time))
    dark, bright = band(sawtooth(phase(pitch, time), pitch), 30, 200), band(sawtooth(phase(pitch, time), pitch), 30, 3000)
    return dark * (1 - wave) * 2 + bright * wave


@kind(
    "a ring modulated tone | a metallic robotic tone | an inharmonic metallic drone | a clangorous ring modulator",
    "robotic ring modulation | a metallic modulated drone",
)
def _ring_modulation(random: Random, seconds: float) -> Signal:
    time, one, two = clock(seconds), between(random, 150, 900), between(random, 30, 700)
    drift = 1 + 0.05 * sine(phase(between(random, 0.1, 1), time))
    return sawtooth(phase(one, time), one) * sine(phase(two * drift, time))


@kind(
    "beating tones | two detuned tones beating | a slow beating interference | close frequencies beating",
    "interference beats between two tones | detuned sines beating",
)
def _beating_tones(random: Random, seconds: float) -> Signal:
    time, pitch = clock(seconds), between(random, 100, 800)
    return sine(phase(pitch, time)) + sine(phase(pitch + between(random, 1.5, 9), time))
