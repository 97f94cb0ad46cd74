"""Interfaces of other programs: changing an import is all that it takes to switch.

    kromosynth    `CLAPExtractor` of kromosynth-evaluate

Imports `tasks` and below.
"""
