"""Clicks, machines, animals and people."""

from __future__ import annotations

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
    harmonic,
    moving_band,
    phase,
    place,
    regular,
    scattered,
    sine,
)


@kind(
    "a metronome | metronome clicks | a steady click track | a regular clicking | a metronome beating time",
    "regular metronome clicks | a click keeping the tempo",
)
def _metronome(random: Random, seconds: float) -> Signal:
    pitch, length = between(random, 700, 2500), between(random, 60, 200)
    return place(
        seconds, regular(random, seconds, between(random, 0.8, 3.5)),
        lambda n: sine(phase(pitch * (1.5 if n % 4 == 0 else 1), clock(0.1))) * decay(clock(0.1), length, 0.0005),
    )  # fmt: skip


@kind(
    "random clicks | a Geiger counter | irregular clicking | a Geiger counter crackling | scattered clicks",
    "clicks at random moments | a clicking radiation detector",
)
def _geiger_counter(random: Random, seconds: float) -> Signal:
    return place(
        seconds, scattered(random, seconds, between(random, 4, 60)),
        lambda _: random.choice([-1.0, 1.0]) * np.exp(-clock(0.004) * between(random, 800, 4000)),
    )  # fmt: skip


@kind(
    "vinyl crackle | a crackling record | an old record's surface noise | the crackle of a vinyl record",
    "record player crackle | dusty vinyl noise",
)
def _vinyl_crackle(random: Random, seconds: float) -> Signal:
    ticks = place(
        seconds, scattered(random, seconds, between(random, 15, 70)),
        lambda _: random.normal(0, 1) * np.exp(-clock(0.002) * 3000),
    )  # fmt: skip
    return band(ticks, 500, 9000) * 3 + coloured(random, ticks.size, 1.0) * 0.02


@kind(
    "a heartbeat | a beating heart | a heart beating | a slow heartbeat | the thump of a heart",
    "the beat of a human heart | a pulsing heart",
)
def _heartbeat(random: Random, seconds: float) -> Signal:
    pitch = between(random, 35, 65)

    def beat(_: int) -> Signal:
        thump = sine(phase(pitch, clock(0.18))) * decay(clock(0.18), 20, 0.01)
        return place(0.6, np.array([0.0, 0.25]), lambda n: thump * (1.0 if n == 0 else 0.7))

    return place(seconds, regular(random, seconds, between(random, 0.8, 1.8), 0.02), beat)


@kind(
    "bubbles | bubbling | water bubbles | drops of bubbling liquid | bubbling sounds",
    "bubbles rising in liquid | gurgling bubbles",
)
def _bubbles(random: Random, seconds: float) -> Signal:
    def bubble(_: int) -> Signal:
        time = clock(0.12)
        return sine(phase(between(random, 300, 1400) * (1 + between(random, 2, 8) * time), time)) * decay(
            time, between(random, 20, 60)
        )

    return place(seconds, scattered(random, seconds, between(random, 4, 30)), bubble)


@kind(
    "a dripping tap | water dripping | drops of water | a leaking faucet dripping",
    "single water drops falling | a leaky tap",
)
def _dripping(random: Random, seconds: float) -> Signal:
    pitch = between(random, 700, 1800)

    def drop(_: int) -> Signal:
        time = clock(0.15)
        return sine(phase(pitch * (1 + 6 * time) * random.uniform(0.9, 1.1), time)) * decay(time, 35)

    return place(seconds, regular(random, seconds, between(random, 0.6, 3), 0.15), drop)


@kind(
    "bird chirps | birds chirping | a bird singing | songbirds | tweeting birds | a chirping bird",
    "birdsong | the twitter of small birds",
)
def _bird_chirps(random: Random, seconds: float) -> Signal:
    def chirp(_: int) -> Signal:
        time, base = clock(between(random, 0.06, 0.2)), between(random, 2500, 5500)
        bend = 1 + random.uniform(-0.3, 0.3) * time / time[-1] + 0.06 * sine(phase(between(random, 15, 60), time))
        return sine(phase(base * bend, time)) * np.hanning(time.size)

    return place(seconds, scattered(random, seconds, between(random, 3, 9)), chirp)


@kind(
    "crickets | a cricket chirping | crickets at night | chirping insects | a cricket",
    "insects chirping in the dark | the chirr of crickets",
)
def _crickets(random: Random, seconds: float) -> Signal:
    time, pitch = clock(seconds), between(random, 3800, 6000)
    pulses = np.clip(sine(phase(between(random, 25, 45), time)), 0, 1)
    phrases = np.clip(4 * sine(phase(between(random, 0.8, 2.5), time)), 0, 1)
    return sine(phase(pitch, time)) * pulses * phrases


@kind(
    "an engine idling | a motor running | an engine | a car engine idling | a rumbling motor",
    "a running combustion engine | a motor ticking over",
)
def _engine(random: Random, seconds: float) -> Signal:
    time = clock(seconds)
    rate = between(random, 18, 60) * (
        1 + 0.15 * sine(phase(between(random, 0.1, 0.6), time)) + 0.01 * random.standard_normal(time.size).cumsum() / 300
    )
    pulses = np.exp(-8 * (phase(rate, time) % 1)) * (1 + 0.3 * random.standard_normal(time.size))
    return band(pulses - pulses.mean(), 30, between(random, 400, 1500))


@kind(
    "an electric hum | mains hum | a transformer humming | electrical buzzing | a 50 hertz hum | a ground loop hum",
    "the hum of electricity | a buzzing transformer",
)
def _electric_hum(random: Random, seconds: float) -> Signal:
    time, mains = clock(seconds), float(random.choice([50.0, 60.0]))
    levels = np.zeros(20)
    levels[[0, 1, 2, 3, 5, 7, 9, 11]] = random.uniform(0.1, 1, 8)
    return harmonic(phase(mains, time), levels, mains)


@kind(
    "whistling | a person whistling | a whistled tune | someone whistling a melody",
    "a human whistle | a cheerful whistled melody",
)
def _whistling(random: Random, seconds: float) -> Signal:
    time, rate = clock(seconds), between(random, 1, 4)
    steps = np.cumsum(random.integers(-3, 4, 64))
    target = between(random, 900, 1800) * 2 ** (np.clip(steps, -7, 7)[np.minimum((time * rate).astype(int), 63)] / 12)
    smooth = np.convolve(target, np.ones(2400) / 2400, mode="same")
    return sine(phase(np.maximum(smooth, 200), time)) + 0.03 * moving_band(random, time, smooth, 150)


@kind(
    "footsteps | someone walking | footsteps on a hard floor | a person walking | steps",
    "walking feet | the steps of someone passing",
)
def _footsteps(random: Random, seconds: float) -> Signal:
    centre = between(random, 120, 400)

    def step(_: int) -> Signal:
        time = clock(0.25)
        heel = band(random.standard_normal(time.size), centre * 0.5, centre * 2) * decay(time, 45)
        return heel / np.abs(heel).max() + 0.2 * band(random.standard_normal(time.size), 2000, 7000) * decay(
            np.maximum(time - 0.05, 0), 60
        )

    return place(seconds, regular(random, seconds, between(random, 1.4, 2.4), 0.04), step)


@kind(
    "knocking | knocking on a door | a knock at the door | someone knocking on wood",
    "raps on a wooden door | a person knocks",
)
def _knocking(random: Random, seconds: float) -> Signal:
    pitch = between(random, 120, 350)

    def knock(_: int) -> Signal:
        time = clock(0.2)
        return (sine(phase(pitch, time)) + 0.6 * sine(phase(pitch * 2.3, time))) * decay(
            time, 40, 0.0005
        ) + 0.2 * random.standard_normal(time.size) * decay(time, 200, 0.0003)

    bursts = regular(random, seconds, between(random, 0.3, 0.8), 0.1)
    return place(
        seconds, bursts, lambda _: place(1.2, np.arange(int(random.integers(2, 5))) * random.uniform(0.15, 0.25), knock)
    )


@kind(
    "a typewriter | typing on a keyboard | keyboard typing | clicking keys | someone typing",
    "fingers typing on keys | the clatter of a keyboard",
)
def _typing(random: Random, seconds: float) -> Signal:
    def key(_: int) -> Signal:
        time = clock(0.05)
        return band(random.standard_normal(time.size), 1500, 8000) * decay(time, between(random, 120, 300), 0.0003)

    return place(seconds, scattered(random, seconds, between(random, 4, 11)), key)


@kind(
    "a fan | a fan running | the drone of a fan | an air conditioner | a ventilator blowing",
    "a whirring ventilator | air conditioning noise",
)
def _fan(random: Random, seconds: float) -> Signal:
    time = clock(seconds)
    air = band(coloured(random, time.size, 1.0), 80, between(random, 1500, 5000))
    rate = between(random, 60, 180)
    return air + 0.4 * harmonic(phase(rate, time), random.uniform(0.1, 1, 6), rate)


@kind(
    "silence | nothing | no sound at all | complete silence | an empty recording", "absolute silence | a silent recording"
)
def _silence(random: Random, seconds: float) -> Signal:
    level = 0.0 if random.random() < 0.6 else between(random, 1e-5, 2e-4)
    return coloured(random, clock(seconds).size, random.choice([0.0, 1.0])) * level
