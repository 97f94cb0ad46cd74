"""Measurements of a bundle.

    dataset        labelled sounds on disk
    zero_shot      accuracy of classification, and retrieval
    calibration    calibration of tags
    latency        time of one sound, by stage
    scores         scores of generated sound that can be cited

Imports `tasks` and below.
"""
