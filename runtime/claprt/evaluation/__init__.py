"""Measurements of a bundle.

    dataset        labelled sounds on disk
    zero_shot      accuracy of classification, and what `claprt evaluate` computes
    retrieval      recall and mean average precision
    published      labels and sentences of published evaluations
    comparison     two models on the same sounds
    linear_probe   classes from few sounds of each
    intervals      confidence intervals, seeded
    calibration    calibration of tags
    latency        time of one sound, by stage
    scores         scores of generated sound that can be cited

Imports `tasks` and below.
"""
