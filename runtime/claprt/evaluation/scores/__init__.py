"""Scores of generated sound that can be cited: the CLAP score of pairs, and distances between sets of sounds.

functions      `claprt.score`
streaming      `update`, `compute`, `reset`
pairs_file     pairs of a sound and a text, from CSV or JSON lines
embedding      vectors that do not depend on batches
pair_scores    the CLAP score: what is accumulated, and the result
exact_sums     sums of vectors that do not depend on their order
intervals      confidence intervals, seeded
provenance     what computed a score, and the line for a paper
report         scores as tables for people
"""
