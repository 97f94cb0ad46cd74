"""Effects as games and films use them."""

from __future__ import annotations

import numpy as np

from claprt_export.synthesis.classes.registry import kind
from claprt_export.synthesis.signals import (
    Random,
    Signal,
    band,
    between,
    clock,
    decay,
    moving_band,
    phase,
    place,
    regular,
    sawtooth,
    scattered,
    sine,
    square,
)


@kind(
    "a laser | a laser zap | a sci-fi laser gun | laser shots | a zapping ray gun | a space laser",
    "a futuristic laser blast | ray gun zaps",
)
def _laser(random: Random, seconds: float) -> Signal:
    def zap(_: int) -> Signal:
        time = clock(between(random, 0.12, 0.5))
        frequency = between(random, 1500, 6000) * np.exp(-between(random, 6, 20) * time) + 80
        return square(phase(frequency, time), 3000) * decay(time, 4)

    return place(seconds, regular(random, seconds, between(random, 0.8, 5), 0.1), zap)


@kind(
    "a video game coin | a retro game jump | an 8-bit video game sound | arcade game blips | a chiptune effect",
    "old arcade bleeps | a retro console sound effect",
)
def _game_blips(random: Random, seconds: float) -> Signal:
    def blip(_: int) -> Signal:
        time, pitch = clock(between(random, 0.15, 0.4)), between(random, 400, 1500)
        if random.random() < 0.5:
            frequency = np.where(time < 0.08, pitch, pitch * 1.335)
        else:
            frequency = pitch * (1 + between(random, 1, 4) * time)
        return square(phase(frequency, time), 3000) * decay(time, 5)

    return place(seconds, regular(random, seconds, between(random, 0.8, 4), 0.1), blip)


@kind(
    "an explosion | a big explosion | a distant explosion | a booming blast | a bomb exploding",
    "a massive detonation | the boom of a blast",
)
def _explosion(random: Random, seconds: float) -> Signal:
    def boom(_: int) -> Signal:
        time = clock(4.0)
        rumble = band(random.standard_normal(time.size), 20, between(random, 150, 700)) * decay(
            time, between(random, 0.8, 2.5), 0.01
        )
        crack = random.standard_normal(time.size) * decay(time, between(random, 10, 40)) * 0.3
        return rumble / np.abs(rumble).max() + crack

    return place(seconds, regular(random, seconds, between(random, 0.1, 0.35), 0.1), boom)


@kind(
    "gunshots | a gun firing | a gunshot | shots being fired | a rifle shot",
    "someone firing a gun | the crack of gunfire",
)
def _gunshots(random: Random, seconds: float) -> Signal:
    def shot(_: int) -> Signal:
        time = clock(0.7)
        return random.standard_normal(time.size) * (decay(time, 60, 0.0003) + 0.12 * decay(time, 8))

    return place(seconds, scattered(random, seconds, between(random, 0.5, 4)), shot)


@kind(
    "a robotic vowel | a synthetic voice singing aah | a vocal synthesizer | a formant voice | a choir of synthetic voices",
    "an artificial singing voice | synthesized human vowels",
)
def _synthetic_voice(random: Random, seconds: float) -> Signal:
    time, pitch = clock(seconds), between(random, 90, 350)
    vowels = [(730, 1090, 2440), (270, 2290, 3010), (300, 870, 2240), (530, 1840, 2480), (570, 840, 2410)]
    source = sawtooth(phase(pitch * (1 + 0.01 * sine(phase(5.5, time))), time), pitch)
    out, spot = np.zeros(time.size), (time / between(random, 0.4, 2)).astype(int)
    for which in range(int(spot[-1]) + 1):
        f1, f2, f3 = vowels[int(random.integers(0, 5))]
        voiced = (
            band(source, f1 * 0.85, f1 * 1.15)
            + 0.6 * band(source, f2 * 0.92, f2 * 1.08)
            + 0.3 * band(source, f3 * 0.94, f3 * 1.06)
        )
        out += voiced * (spot == which)
        if which > 6:
            break
    return out


@kind(
    "a riser | a rising noise build-up | an uplifter | a tension riser | a build-up before a drop",
    "a growing sweep of noise | a cinematic riser",
)
def _riser(random: Random, seconds: float) -> Signal:
    time = clock(seconds)
    part = time / seconds
    noise = moving_band(random, time, 300 * 20**part, 400) * part**2
    tone = sawtooth(phase(between(random, 80, 200) * 4**part, time), 1200) * part**2
    return noise / max(float(np.abs(noise).max()), 1e-9) + 0.4 * tone
