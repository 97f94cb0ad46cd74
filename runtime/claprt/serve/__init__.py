"""CLAP as a service: HTTP, kromosynth's WebSocket protocols, and a page to try it.

`app` creates the ASGI application, `routes` those of each model; `server` runs it on a port, `claprt serve` is the
command. `middleware` and `origins` check HTTP requests, `limits` bounds them, `access` logs them under their
`request_ids`, `metrics` counts and `tracing` traces them; `errors` maps exceptions to responses. `http` has the
endpoints and the page, `kserve` those of KServe's protocol, `websocket` the message protocols; `schemas`, `projection`
and `base64_audio` are shared. All of them call `scheduling.service`, which runs a model. `library` adds the endpoints
and the page of a library of sounds.
"""
