"""Measurements of a bundle.

    dataset            labelled sounds
    reading            datasets from folders, CSV, Parquet, tar archives and libraries
    csv_rows           rows of CSV files
    dataset_vectors    the vectors of a dataset
    library_vectors    those that a library has
    zero_shot          accuracy of classification, and what `claprt evaluate` computes
    confusion_picture  what was taken for what, drawn
    retrieval          recall and mean average precision
    published          labels and sentences of published evaluations
    comparison         two models on the same sounds
    linear_probe       classes from few sounds of each
    intervals          confidence intervals, seeded
    progress           how work that takes a while shows its progress
    calibration        calibration of tags
    latency            time of one sound, by stage
    scores             scores of generated sound that can be cited

Imports `tasks` and below.
"""
