"""Adapters for other libraries: objects that these take in place of their own.

    fastembed               the interface of fastembed's models, for sounds and texts
    libraries               other libraries: what is missing, too old or too new
    models                  models by name, and by what a library keeps of them; texts and sounds in one list
    mteb                    a model for `mteb.evaluate`
    sentence_transformers   the interface of its encoders, for texts and sounds
    sklearn                 a transformer for pipelines

An adapter's module imports its library; no other part of the package imports one. Imports `library` and below.
"""
