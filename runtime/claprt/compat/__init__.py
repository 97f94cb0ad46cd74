"""Interfaces of other programs: changing an import is all that it takes to switch. Imports `tasks` and below.

kromosynth    `CLAPExtractor` of kromosynth-evaluate
"""
