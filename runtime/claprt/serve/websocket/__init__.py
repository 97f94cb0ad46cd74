"""WebSocket protocols.

    endpoint      messages in, replies out, for any protocol
    kromosynth    kromosynth's protocol for embeddings
    stream        `/stream`: blocks of samples in, windows and events out

kromosynth's protocol for projections is `claprt.serve.projection`, which HTTP uses too.
"""
