"""Adapters for other libraries: objects that these take in place of their own.

    mteb    a model for `mteb.evaluate`

Each imports its library where it first needs it. Imports `tasks` and below.
"""
