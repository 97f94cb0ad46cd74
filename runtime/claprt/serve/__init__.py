"""CLAP as a service: kromosynth's WebSocket protocol, and HTTP for everybody else.

`app` is the ASGI application, `batcher` merges what arrives together, `socket` speaks kromosynth's protocol, `limits` says
how much one request may ask for. `claprt serve` runs it.
"""
