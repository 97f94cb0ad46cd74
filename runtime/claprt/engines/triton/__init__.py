"""The engine on a Triton server, and the client that it is made of.

    engine           `TritonEngine`
    aio              `AsyncTritonEngine`
    transport        requests over gRPC and HTTP, `Security`
    shared_memory    tensors in shared memory
    metadata         what a server states about its models, and checks of its replies
    errors           exceptions of tritonclient to those of claprt

Nothing else imports tritonclient but the lint of repositories.
"""
