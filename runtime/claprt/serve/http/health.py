"""Health and metrics: `/healthz`, `/readyz`, `/metrics`."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from claprt.serve.http.openapi import HttpEndpoint
from claprt.serve.metrics import CONTENT_TYPE
from claprt.serve.scheduling.models import Models
from claprt.serve.scheduling.shared import State


class HealthApi:
    """Handlers of the endpoints; their docstrings are in the OpenAPI document."""

    def __init__(self, models: Models) -> None:
        self._models = models

    def endpoints(self) -> list[HttpEndpoint]:
        """All endpoints; metrics are those of the process, so they have no prefix of a model."""
        unready = {503: "loading, shutting down, or an engine failed"}
        endpoints = [
            HttpEndpoint("GET", "/healthz", self.healthz, reply=str),
            HttpEndpoint("GET", "/readyz", self.readyz, errors=unready),
        ]
        if self._models.prefix:
            return endpoints
        return [*endpoints, HttpEndpoint("GET", "/metrics", self.metrics, reply=str, is_of_model=False)]

    async def healthz(self, _: Request) -> Response:
        """Whether the process answers."""
        return PlainTextResponse("ok")

    async def readyz(self, _: Request) -> Response:
        """Whether every model is ready, and what they are."""
        models, worker = self._models, self._models.shared.worker
        reasons, state = await models.ready(), models.shared.state
        facts: dict[str, Any] = dict(models.default.facts())
        if worker is not None:
            facts |= {"worker": worker[0], "workers": worker[1]}
        failed = [f"{name}: {reason}" if models.are_named else reason for name, reason in reasons.items() if reason]
        status = ("; ".join(failed) or "ready") if state is State.READY else state
        if models.are_named:
            facts["models"] = {
                name: {"status": reasons[name] or "ready", **service.facts()} for name, service in models.services.items()
            }
        return JSONResponse({"status": status, **facts}, 503 if failed else 200)

    async def metrics(self, _: Request) -> Response:
        """Counters, gauges and histograms in Prometheus' text format."""
        return Response(self._models.shared.metrics.text(), media_type=CONTENT_TYPE)
