"""The exporter: a LAION-CLAP checkpoint in, a verified bundle of ONNX graphs out. Needs the `export` extra (torch).

Importing it loads nothing heavy and fetches nothing; `claprt_export.pipeline.export_bundle` is the whole of it.
"""
