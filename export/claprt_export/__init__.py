"""The exporter: a LAION-CLAP checkpoint in, a verified bundle of ONNX graphs out. Needs the `export` extra (torch).

Importing it loads nothing heavy and fetches nothing; `claprt_export.pipeline.export_bundle` is the whole of it.
"""

from claprt._moved import install as _install
from claprt.system.telemetry import switch_off as _switch_off
from claprt_export._moved import MODULES as _MODULES

_install(_MODULES, {})
_switch_off()  # before onnxruntime is imported, by whatever module of this package comes first
