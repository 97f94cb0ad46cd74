"""The exporter: a LAION-CLAP checkpoint in, a verified bundle of ONNX graphs out. Needs the `export` extra (torch).

Importing it loads nothing heavy and fetches nothing; `claprt_export.pipeline.export_bundle` is the whole of it.
"""

from claprt.system.telemetry import switch_off as _switch_off

_switch_off()  # before onnxruntime is imported, by whatever module of this package comes first
