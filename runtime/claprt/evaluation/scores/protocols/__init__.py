"""Protocols of published scores: the steps between a sound file and the vectors that are scored, as rows of a table.

table         the rows, and what each was compared with
resamplers    resamplers of the originals, in numpy
preparing     from a sound to windows, drawn as the original draws them
"""
