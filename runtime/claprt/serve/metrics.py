"""Prometheus metrics: requests, their durations by stage, rejections, batch sizes, connections.

Each application has its own registry, so that two in one process do not add up. Those of several worker processes do:
prometheus_client keeps them in files of a folder that the supervisor makes, and each worker gives the sums of all. Replies
on WebSockets count as requests of their path, with the status that HTTP would have. Where models have names, what is of one
model has the label `model`; it is empty for requests that are of none.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TypeVar

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.process_collector import ProcessCollector

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Folder of the metrics of all worker processes, if there are several."""
CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30)
_WINDOWS = (1, 2, 3, 4, 6, 8, 12, 16)
_BUILD = ("model", "fingerprint", "provider", "precision", "version")
M = TypeVar("M", Counter, Gauge, Histogram)


class Metrics:
    """The metrics of one application."""

    def __init__(self, *, by_model: bool = False) -> None:
        """`by_model` adds the label `model`, which all methods take and otherwise leave out."""
        self.registry = CollectorRegistry()
        self._of_model = ("model",) if by_model else ()
        self.is_shared = MULTIPROCESS_VARIABLE in os.environ
        """Whether they are added up with those of other worker processes; `refresh` is then to be called now and then."""
        self._gauges: dict[str, Gauge] = {}
        self._computed: list[tuple[Gauge, Callable[[], float]]] = []
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "claprt_requests",
            "Requests that were answered.",
            ["endpoint", "status", *self._of_model],
            registry=self.registry,
        )
        self._seconds = Histogram(
            "claprt_request_seconds",
            "From the head of a request, or a whole WebSocket message, to its reply.",
            ["endpoint", *self._of_model],
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._stages = Histogram(
            "claprt_stage_seconds",
            "Where the time of a sound or of some texts went: read (decoding, resampling, log-mel), wait, tower, text.",
            ["stage", *self._of_model],
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._batches = Histogram(
            "claprt_batch_windows",
            "Windows in a run of the audio tower.",
            self._of_model,
            registry=self.registry,
            buckets=_WINDOWS,
        )
        self._rejected = Counter("claprt_rejected", "Requests that were turned away.", ["reason"], registry=self.registry)
        for reason in ("overloaded", "shutting_down", "token", "too_large"):
            self._rejected.labels(reason)  # exported from the beginning, as 0
        self._connections = Gauge(
            "claprt_connections",
            "Open WebSockets.",
            ["endpoint", *self._of_model],
            registry=self.registry,
            multiprocess_mode="livesum",
        )
        self._build = Gauge("claprt_build_info", "What runs.", _BUILD, registry=self.registry, multiprocess_mode="livemax")

    def _labels(self, metric: M, *values: str, model: str) -> M:
        """The metric of label values; the metric itself if it has no labels."""
        values += (model,) if self._of_model else ()
        return metric.labels(*values) if values else metric

    def set_build(self, facts: dict[str, str]) -> None:
        """State the build of a model: its name, fingerprint, provider, precision, version."""
        self._build.labels(**facts).set(1)

    def add_gauge(self, name: str, text: str, value: Callable[[], float], model: str | None = None) -> None:
        """Add a gauge whose value is computed on each scrape.

        Args:
            name: Of the gauge; several models have one together.
            text: Its description.
            value: Computes it.
            model: Label of the model that it is of; None for one of the process.
        """
        if name not in self._gauges:
            labels = () if model is None else self._of_model
            self._gauges[name] = Gauge(name, text, labels, registry=self.registry, multiprocess_mode="livesum")
        gauge = self._gauges[name] if model is None else self._labels(self._gauges[name], model=model)
        if self.is_shared:  # files hold numbers, not functions
            self._computed.append((gauge, value))
        else:
            gauge.set_function(value)

    def refresh(self) -> None:
        """Compute the gauges of this worker process, for others that are asked."""
        for gauge, value in self._computed:
            gauge.set(value())

    def reject(self, reason: str) -> None:
        """Count a rejected request."""
        self._rejected.labels(reason).inc()

    def request(self, endpoint: str, status: int, seconds: float, model: str) -> None:
        """Count an answered request.

        Args:
            endpoint: Its path without the prefix of a model, and without what differs between requests.
            status: HTTP status, or the equivalent one.
            seconds: Until its reply.
            model: Label of the model that it was for; empty for none.
        """
        self._labels(self._requests, endpoint, str(status), model=model).inc()
        self._labels(self._seconds, endpoint, model=model).observe(seconds)

    def stage(self, model: str, **seconds: float) -> None:
        """Add the durations of stages of one audio input, or of the texts of one request."""
        for stage, took in seconds.items():
            self._labels(self._stages, stage, model=model).observe(took)

    def batch(self, windows: int, model: str) -> None:
        """Add a run of the audio tower with so many windows."""
        self._labels(self._batches, model=model).observe(windows)

    def connections(self, endpoint: str, change: int, model: str) -> None:
        """Count a WebSocket that was opened (1) or closed (-1)."""
        self._labels(self._connections, endpoint, model=model).inc(change)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        if not self.is_shared:
            return generate_latest(self.registry)
        self.refresh()
        together = CollectorRegistry()
        MultiProcessCollector(together)
        return generate_latest(together)
