"""CLAP as a service: kromosynth's WebSocket protocols, HTTP for everybody else, and a page to look at sounds with.

`app` puts the application together, `server` runs it on a port (`connections` are what it holds there), `claprt serve` is
the command. `gate` lets HTTP requests in, `conversation` holds a WebSocket; `http`, `bodies` and `schemas` are the
endpoints, `socket` and `projection` the protocols, `page` the page. All of them ask `service`, which `questions` and
`analysis` belong to; below it `batcher` merges what arrives together: `readers` are its threads that read sounds (`reading`
makes windows of one, `asked` is one on its way), `tower` and `texts` those that run the towers, and `turns` says who comes
next. `limits` and `places` say how much there may be, `access` is the log of requests,
`faults` what is said when there is no answer, `metrics` what Prometheus is told.
"""
