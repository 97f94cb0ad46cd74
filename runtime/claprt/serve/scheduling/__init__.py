"""Scheduling: many concurrent requests share one model, or several.

    protocols ──▶ service ──▶ batcher ─┬─▶ readers ──▶ audio_tower ─▶ vectors
                     ▲                 └─▶ fair_thread ─────────────▶ vectors
                 zero_shot

`service` is what protocol handlers call; `admission` refuses requests when there are too many, `zero_shot` classifies and
tags with it, `labels_over_time` embeds the labels of timelines and streams. `batcher` runs the model without blocking the
event loop. A request for audio is an `audio_input`, queued as it was sent. `readers` are threads that decode it and
compute its `features`, window by window; `audio_tower` is the thread that runs windows in batches; `job` is one audio
embedding on this way. `fair_thread` is a thread that does work in steps: one embeds texts, others scan a library. Each
queue is a `fair_queue`: the client that has used the least of the resource comes next. `failures` are those of the engine,
which make the service unready. `idle` unloads the towers of a model without requests. There is a `service` with its towers
for each model, and `models` finds the one that a request names; what there is once in a process is `shared`: admission,
metrics, and the `threads` that read audio.
"""
