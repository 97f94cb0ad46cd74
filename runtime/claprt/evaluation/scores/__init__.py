"""Scores of generated sound that can be cited: the CLAP score of pairs, and distances between sets of sounds.

functions        `claprt.score`
streaming        `update`, `compute`, `reset`
of_pairs         embed and score pairs
of_sets          read, embed and compare sets
pairs_file       pairs of a sound and a text, from CSV or JSON lines
library_sets     the vectors of a library as a set
statistics_file  statistics of a set, in fadtk's layout
protocols        the steps of published programs
embedding        vectors of sounds under a protocol
pair_scores      the CLAP score: what is accumulated, and the result
exact_sums       sums of vectors that do not depend on their order
set_scores       sets of sounds, and the result of their metrics
set_metrics      the metrics, with intervals and what qualifies them
distances        distances between sets of vectors
provenance       what computed a score, and the line for a paper
report           scores as tables for people
"""
