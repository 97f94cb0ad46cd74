"""The native engine: the audio tower in int8 on the CPU, by the library of the package claprt-native.

    library     the C interface of towers
    packing     a graph in int8 to the packed weights that the library maps
    constants   constants of a graph, restored where they are compacted
    layout      the file of packed weights: its header, layers and normalisations
    session     the tower, as the engine in process runs it

The text tower stays on onnxruntime.
"""
