"""Sirens, alarms and telephones."""

from __future__ import annotations

import numpy as np

from claprt_export.synthesis.classes.registry import kind
from claprt_export.synthesis.signals import (
    Random,
    Signal,
    between,
    clock,
    phase,
    place,
    regular,
    sawtooth,
    sine,
    square,
)


@kind(
    "a wailing siren | a siren | an emergency siren | an ambulance siren wailing | a police siren | a slow rising and falling siren",
    "the wail of an emergency siren | a howling siren",
)
def _wailing_siren(random: Random, seconds: float) -> Signal:
    return _siren(random, seconds, between(random, 0.12, 0.5))


@kind(
    "a yelping siren | a fast siren | a rapid police siren | a quick yelping alarm siren",
    "a siren yelping quickly | a hurried fast siren",
)
def _yelping_siren(random: Random, seconds: float) -> Signal:
    return _siren(random, seconds, between(random, 2.2, 5))


def _siren(random: Random, seconds: float, rate: float) -> Signal:
    time, low = clock(seconds), between(random, 450, 800)
    wave = 0.5 - 0.5 * np.cos(2 * np.pi * rate * time)
    frequency = low * random.uniform(1.8, 2.6) ** wave
    return sawtooth(phase(frequency, time), 2000) if random.random() < 0.5 else square(phase(frequency, time), 2000)


@kind(
    "a two-tone siren | a hi-lo siren | a European ambulance horn | alternating siren tones | a nee-naw siren",
    "a siren alternating between two notes | a two-note emergency horn",
)
def _two_tone_siren(random: Random, seconds: float) -> Signal:
    time, low, rate = clock(seconds), between(random, 380, 520), between(random, 0.7, 2)
    frequency = low * np.where((time * rate) % 1 < 0.5, 1.0, random.choice([1.25, 1.333, 1.5]))
    return square(phase(frequency, time), 900)


@kind(
    "an alarm beeping | a beeping alarm | repeated beeps | an alarm clock beep | an electronic beep repeating",
    "a digital alarm beeping | insistent electronic beeps",
)
def _beeping_alarm(random: Random, seconds: float) -> Signal:
    time, pitch, rate = clock(seconds), between(random, 800, 3500), between(random, 1.5, 7)
    gate = ((time * rate) % 1 < random.uniform(0.3, 0.6)) & ((time * rate / 4) % 1 < random.choice([0.75, 1.1]))
    return (square if random.random() < 0.5 else lambda c, _: sine(c))(phase(pitch, time), pitch) * gate


@kind(
    "a dial tone | a telephone dial tone | a phone line humming | a steady telephone tone",
    "the tone of a telephone line | a landline dial tone",
)
def _dial_tone(random: Random, seconds: float) -> Signal:
    time = clock(seconds)
    low, high = (350, 440) if random.random() < 0.5 else (425, 425)
    return sine(phase(float(low), time)) + sine(phase(float(high), time))


@kind(
    "touch-tone dialing | a phone number being dialed | telephone keypad tones | DTMF tones | dialing a phone",
    "pressing telephone keys | dual-tone dialing",
)
def _touch_tones(random: Random, seconds: float) -> Signal:
    rows, columns = [697, 770, 852, 941], [1209, 1336, 1477]

    def key(_: int) -> Signal:
        time = clock(random.uniform(0.08, 0.2))
        return sine(phase(float(random.choice(rows)), time)) + sine(phase(float(random.choice(columns)), time))

    return place(seconds, regular(random, seconds, between(random, 2.5, 5), 0.05), key)


@kind(
    "a busy signal | a telephone busy tone | a phone is busy | a line busy signal",
    "the busy tone of a phone | an engaged telephone line",
)
def _busy_signal(random: Random, seconds: float) -> Signal:
    time = clock(seconds)
    gate = (time * random.choice([1.0, 2.0]) + random.random()) % 1 < 0.5
    return (sine(phase(480.0, time)) + sine(phase(620.0, time))) * gate


@kind(
    "morse code | a telegraph beeping | morse code beeps | a radio sending morse",
    "telegraph signals | dots and dashes of morse",
)
def _morse_code(random: Random, seconds: float) -> Signal:
    unit, pitch = between(random, 0.04, 0.1), between(random, 500, 1000)
    gate: list[float] = []
    while len(gate) * unit < seconds:
        gate += [1.0] * int(random.choice([1, 3])) + [0.0] * int(random.choice([1, 1, 1, 3, 7]))
    time = clock(seconds)
    keyed = np.array(gate)[np.minimum((time / unit).astype(int), len(gate) - 1)]
    return sine(phase(pitch, time)) * keyed
