"""Measurements of a bundle.

    dataset        labelled sounds on disk
    zero_shot      accuracy of classification, and retrieval
    calibration    calibration of tags
    latency        time of one sound, by stage

Imports `tasks` and below.
"""
