"""Measurements of a bundle: accuracy on datasets, calibration of tags, latency."""
