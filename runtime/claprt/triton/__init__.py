"""CLAP behind NVIDIA's Triton: the model repository, the engine that asks a server, and a server for development.

`engine` is the client's side, `repository` puts a bundle's graphs into the committed configurations, `steps` is what the
repository's python models share, `pypi_server` runs the server that PyPI has. docs/triton.md tells the whole story.
"""
