"""ONNX graphs: traced, written and stamped.

    to_onnx               torch towers to graphs
    log_mel_graph         the log-mel front end as a graph
    onnx_metadata         opset, metadata, and facts read from a file
    compress_constants    constants in fewer bytes, restored when a session starts
    tensorrt              TensorRT engines from a bundle's graphs, and what its parser says of them
    tensorrt_rtx          TensorRT-RTX engines, built without a GPU and put into a bundle
    tensorrt_cli          the command that does so

Imports `towers` and below.
"""

from claprt_export.graphs.onnx_metadata import IR_VERSION, OPSET, finished, graph_facts

__all__ = ["IR_VERSION", "OPSET", "finished", "graph_facts"]
