"""Engines, which run the towers: in this process, or on a Triton server.

    engine                 `Engine`: the interface that the model uses
    in_process             the engine of this process
    choice                 the provider and the precision that a bundle runs on
    providers              execution providers, and whether they can be had here
    open_session           from a choice to a session
    hardware               processors, GPUs, and this process's share of them
    onnxruntime_session    graphs on onnxruntime; the only importer
    openvino_session       graphs on OpenVINO; the only importer beside
    openvino_single        the form of an audio graph that OpenVINO runs fastest
    native                 the audio tower in int8, by the library of claprt-native
    tensorrt_rtx_session   engines of TensorRT-RTX that the bundle holds; the only importer
    cuda_driver            memory on an NVIDIA GPU, through the driver library
    io_binding             runs whose tensors stay on the device
    tensorrt               shape profiles, fixed inputs and engine folders of TensorRT
    graph_cache            prepared graphs, kept for later processes
    projection             embeddings to behaviour descriptors
    triton                 the engine on a Triton server; the only importer of tritonclient beside the lint

Imports `text` and below, not `audio`.
"""
