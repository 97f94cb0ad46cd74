"""ONNX graphs: traced, written and stamped.

    to_onnx               torch towers to graphs
    log_mel_graph         the log-mel front end as a graph
    onnx_metadata         opset, metadata, and facts read from a file
    compress_constants    constants in fewer bytes, restored when a session starts
    tensorrt              TensorRT engines from a bundle's graphs
    tensorrt_operators    operators that TensorRT's parser takes

Imports `towers` and below.
"""

from claprt_export.graphs.onnx_metadata import IR_VERSION, OPSET, finished, graph_facts

__all__ = ["IR_VERSION", "OPSET", "finished", "graph_facts"]
