"""Model repositories of a Triton server.

    builder          a repository from a bundle and the committed configurations
    lint             checks of configurations, graphs and manifest against each other
    ensembles        whether the steps of an ensemble fit together
    onnx_versions    IR version and opset of an ONNX file, read without onnx

docs/triton-models.md describes what is in one.
"""

from claprt.triton.repository.builder import SERVED, TOWERS, Build, build, source_folder

__all__ = ["SERVED", "TOWERS", "Build", "build", "source_folder"]
