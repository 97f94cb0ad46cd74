"""Datasets from the places that people have them in.

read          `read_dataset`: which of them a path names
columns       which columns hold the classes and the captions, and their values
listed        CSV files, and folders of sounds
tables        Parquet files, such as Hugging Face's
shards        tar archives, as webdataset has them
libraries     a library of sounds, whose folders are the classes
"""
