"""Classes of synthesised sounds, with the words for them: an unlimited supply with exact labels.

Each class is a function of a random generator and a length in seconds, with a list of wordings, and others that are
held out of training and measure whether the text tower has learnt words or only sentences. No class imitates a class of
ESC-10: a synthesised rain that is not rain teaches the model the wrong thing.

    registry       `Kind`, and the list of classes
    tones          oscillators and noise generators
    instruments    drums, strings, bells, keyboards
    alarms         sirens, alarms, telephones
    events         clicks, machines, animals, people
    effects        effects of games and films
"""

from __future__ import annotations

import numpy as np

from claprt.arrays import Waveform
from claprt_export.synthesis.classes import alarms, effects, events, instruments, tones
from claprt_export.synthesis.classes.registry import KINDS, Kind
from claprt_export.synthesis.signals import Random, between, coloured, room

__all__ = ["KINDS", "Kind", "synthesise"]

# Importing the modules fills KINDS. Its order is stated, because ranges of int8 and the data of mini are drawn in it.
for _module in (effects, events, instruments, alarms, tones):
    for _name in [name for name, kind in KINDS.items() if kind.make.__module__ == _module.__name__]:
        KINDS[_name] = KINDS.pop(_name)


def synthesise(name: str, random: Random, seconds: float | None = None) -> Waveform:
    """A sound of this kind [samples] at 48 kHz, with a level and sometimes a room drawn at random."""
    seconds = between(random, 1.0, 10.0) if seconds is None else seconds
    signal = KINDS[name].make(random, seconds)
    if name != "silence":
        if random.random() < 0.3:
            signal = room(random, signal, between(random, 0.1, 1.5), random.uniform(0.1, 0.6))
        signal = signal / max(float(np.abs(signal).max()), 1e-9) * between(random, 0.08, 0.95)
        if random.random() < 0.4:
            signal = signal + coloured(random, signal.size, random.choice([0.0, 1.0])) * between(random, 1e-5, 3e-3)
    return signal.astype(np.float32)
