"""The exporter: a LAION-CLAP checkpoint in, a verified bundle of ONNX graphs out. Needs the `export` extra (torch).

    cli             `claprt-export`
    pipeline        `export_bundle`: load, trace, verify, write
    projection      the learned projection: trained, checked, put into a bundle
    parity          graphs against the torch towers
    precision       lower precisions, and the quality gate that admits them
    graphs          ONNX graphs
    checkpoints     checkpoints: fetched, read, recognised, checked
    towers          the two encoders as torch modules
    synthesis       synthesised sounds with labels and captions
    mini            training of the small model
    architecture    sizes of the towers
    atomic          outputs that appear whole or not at all
    errors          the exporter's errors

Importing this package loads nothing heavy and fetches nothing. `pyproject.toml` has the layers of these rooms.
"""

from claprt._moved import install as _install
from claprt.system.telemetry import switch_off as _switch_off
from claprt_export._moved import MODULES as _MODULES

_install(_MODULES, {})
_switch_off()  # before onnxruntime is imported, by whatever module of this package comes first
