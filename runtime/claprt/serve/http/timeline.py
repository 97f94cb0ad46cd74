"""`POST /timeline`: labels over time and events of one sound."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct
from starlette.requests import Request
from starlette.responses import Response

from claprt.audio.long_audio import dense_policy
from claprt.errors import OptionError
from claprt.scoring.events import EventOptions
from claprt.serve.http.openapi import HttpEndpoint
from claprt.serve.http.request_bodies import (
    FORM,
    JSON,
    check_media_type,
    json_response,
    read_form,
    split_labels,
    times_of,
    while_connected,
)
from claprt.serve.scheduling.audio_input import AudioInput, Encoding
from claprt.serve.scheduling.labels_over_time import scorer_of
from claprt.serve.scheduling.models import Models
from claprt.serve.schemas import ModelName, Template, Unread, Words, decode_json
from claprt.tasks.timeline.functions import scored_timeline

Seconds = Annotated[float, Meta(ge=0)]
Probability = Annotated[float, Meta(ge=0, le=1)]


class TimelineForm(Struct, kw_only=True, forbid_unknown_fields=True):
    """A file and labels."""

    labels: Words
    background: Annotated[Words | None, Meta(description="with `classify`: labels for everything else")] = None
    scores: Annotated[
        Literal["tag", "classify"] | None, Meta(description="each label by itself (default), or shares among all")
    ] = None
    hop_s: Annotated[Seconds | None, Meta(description="seconds between two windows; 1 by default")] = None
    window_s: Annotated[Seconds | None, Meta(description="seconds of a window; the model's by default")] = None
    on: Annotated[Probability | None, Meta(description="probability that an event reaches; 0.5 by default")] = None
    off: Annotated[Probability | None, Meta(description="probability below which it has ended; 0.8 of `on`")] = None
    min_duration_s: Annotated[Seconds | None, Meta(description="shortest event; 0 by default")] = None
    merge_s: Annotated[Seconds | None, Meta(description="longest gap within an event; 0 by default")] = None
    template: Template = None
    model: ModelName = None
    user: Unread = None

    def event_options(self) -> EventOptions:
        """When an event begins and ends.

        Raises:
            OptionError: If `off` is above `on`.
        """
        stated = {name: getattr(self, name) for name in ("on", "off", "min_duration_s", "merge_s")}
        return EventOptions(**{name: value for name, value in stated.items() if value is not None})


class TimelineRequest(TimelineForm, kw_only=True):
    """An audio file in base64, and labels."""

    audio: str


class TimelineApi:
    """The handler of the endpoint; its docstring is in the OpenAPI document."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def endpoints(self) -> list[HttpEndpoint]:
        """The endpoint."""
        return [HttpEndpoint("POST", "/timeline", self.timeline, TimelineRequest, TimelineForm)]

    async def timeline(self, request: Request) -> Response:
        """What is heard when: probabilities of labels in windows that overlap, and events with onset and offset."""
        threads, most = self._models.shared.threads, self._models.shared.limits.timeline_labels
        if check_media_type(request, JSON, FORM) == JSON:
            body = await request.body()
            size = len(body)

            def decoded() -> tuple[TimelineForm, AudioInput]:
                given = decode_json(body, TimelineRequest, most)
                return given, AudioInput(given.audio, encoding=Encoding.BASE64)
        else:
            form = await read_form(request)
            size = form.size

            def decoded() -> tuple[TimelineForm, AudioInput]:
                return form.to_struct(TimelineForm, "labels", "background"), form.audio

        times = times_of(request)

        async def work() -> Response:
            def parsed() -> tuple[TimelineForm, AudioInput, list[str], list[str]]:
                given, audio = decoded()
                return given, audio, split_labels(given.labels, most), split_labels(given.background or [], most)

            given, audio, labels, background = await threads.run(parsed)
            service = self._models.choose(given.model)
            if not labels:
                raise OptionError("labels is empty; give at least one label.")
            options = given.event_options()
            hop_s = 1.0 if given.hop_s is None else given.hop_s
            policy = dense_policy(service.clap.manifest.audio, hop_s, given.window_s)
            # texts first: errors in them are found before the audio costs anything
            scorer = await scorer_of(service, labels, background, given.scores or "tag", given.template, times)
            windows = await service.embed_windows(audio, policy, times)

            def reply() -> Response:
                clap = service.clap
                line = scored_timeline(clap.manifest, clap.fingerprint, windows, policy.hop_s, scorer, options)
                return json_response({**line.to_dict(), "timings_ms": times.to_dict()})

            return await threads.run(reply)

        with self._models.default.admit(size):
            return await while_connected(request, work())
