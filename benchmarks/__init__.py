"""Measurements, and what puts them into the documents."""
