"""ONNX graphs: traced, written and stamped."""

from claprt_export.graphs.onnx_metadata import IR_VERSION, OPSET, finished, graph_facts

__all__ = ["IR_VERSION", "OPSET", "finished", "graph_facts"]
