"""Training of `mini`, the small CLAP that ships with the package: `python -m claprt_export.mini` (or `make mini`).

Nothing outside this room needs it. docs/mini.md is the model card.
"""
