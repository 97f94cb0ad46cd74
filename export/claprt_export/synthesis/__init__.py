"""Synthesised sounds with exact labels: for the quality gate, the small model, examples and tests.

    signals     oscillators, envelopes, noises, filters
    classes     the classes of sounds
    captions    words for them
    samples     the sample sounds that ship with claprt

Imports nothing of the exporter but `errors`.
"""
