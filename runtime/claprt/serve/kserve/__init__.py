"""KServe's Open Inference Protocol (v2) over HTTP, with Triton's extension for binary tensors.

routes     the endpoints under `/v2`
models     what is served: names and tensors of the Triton repository's models
tensors    tensors of requests and responses, in JSON and in binary
"""
