"""From whatever names a model to a bundle; checkpoints are exported once.

    resolve             path, name or address to a bundle
    checkpoint_file     recognition of checkpoint files
    export_cache        exports, kept by the content of the checkpoint
    exporter_process    the exporter as a child process

Imports `engines`, `audio` and below.
"""
