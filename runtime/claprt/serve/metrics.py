"""Prometheus metrics: requests, their durations by stage, rejections, batch sizes, connections.

Each application has its own registry, so that two in one process do not add up. Those of several worker processes do:
prometheus_client keeps them in files of a folder that the supervisor makes, and each worker gives the sums of all. Replies
on WebSockets count as requests of their path, with the status that HTTP would have.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.process_collector import ProcessCollector

MULTIPROCESS_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
"""Folder of the metrics of all worker processes, if there are several."""
CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30)
_WINDOWS = (1, 2, 3, 4, 6, 8, 12, 16)


class Metrics:
    """The metrics of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.is_shared = MULTIPROCESS_VARIABLE in os.environ
        """Whether they are added up with those of other worker processes; `refresh` is then to be called now and then."""
        self._computed: list[tuple[Gauge, Callable[[], float]]] = []
        ProcessCollector(registry=self.registry)
        self._requests = Counter(
            "claprt_requests", "Requests that were answered.", ["endpoint", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "claprt_request_seconds",
            "From the head of a request, or a whole WebSocket message, to its reply.",
            ["endpoint"],
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._stages = Histogram(
            "claprt_stage_seconds",
            "Where the time of a sound or of some texts went: read (decoding, resampling, log-mel), wait, tower, text.",
            ["stage"],
            registry=self.registry,
            buckets=_SECONDS,
        )
        self._batches = Histogram(
            "claprt_batch_windows", "Windows in a run of the audio tower.", registry=self.registry, buckets=_WINDOWS
        )
        self._rejected = Counter("claprt_rejected", "Requests that were turned away.", ["reason"], registry=self.registry)
        for reason in ("overloaded", "shutting_down", "token", "too_large"):
            self._rejected.labels(reason)  # exported from the beginning, as 0
        self._connections = Gauge(
            "claprt_connections", "Open WebSockets.", ["endpoint"], registry=self.registry, multiprocess_mode="livesum"
        )

    def set_build(self, facts: dict[str, str]) -> None:
        """State the build: model, fingerprint, provider, precision, version."""
        build = Gauge("claprt_build_info", "What runs.", list(facts), registry=self.registry, multiprocess_mode="livemax")
        build.labels(**facts).set(1)

    def add_gauge(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Add a gauge whose value is computed on each scrape."""
        gauge = Gauge(name, text, registry=self.registry, multiprocess_mode="livesum")
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

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """Count an answered request."""
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint).observe(seconds)

    def stage(self, **seconds: float) -> None:
        """Add the durations of stages of one audio input, or of the texts of one request."""
        for stage, took in seconds.items():
            self._stages.labels(stage).observe(took)

    def batch(self, windows: int) -> None:
        """Add a run of the audio tower with so many windows."""
        self._batches.observe(windows)

    def connections(self, endpoint: str, change: int) -> None:
        """Count a WebSocket that was opened (1) or closed (-1)."""
        self._connections.labels(endpoint).inc(change)

    def text(self) -> bytes:
        """All metrics in Prometheus' text format."""
        if not self.is_shared:
            return generate_latest(self.registry)
        self.refresh()
        together = CollectorRegistry()
        MultiProcessCollector(together)
        return generate_latest(together)
