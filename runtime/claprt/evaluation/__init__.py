"""Measurements of a bundle. Imports `tasks` and below.

dataset        labelled sounds on disk
zero_shot      accuracy of classification, and retrieval
calibration    calibration of tags
latency        time of one sound, by stage
"""
