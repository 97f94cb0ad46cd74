"""Scores of generated sound that can be cited: the CLAP score of pairs, and distances between sets of sounds.

pairs_file     pairs of a sound and a text, from CSV or JSON lines
intervals      confidence intervals, seeded
exact_sums     sums of vectors that do not depend on their order
pair_scores    the CLAP score: what is accumulated, and the result
provenance     what computed a score, and the line for a paper
functions      `claprt.score`
"""
