"""What Prometheus is told: how many requests, how long they took and in which stage, how large the batches were.

Each application has a registry of its own, so that two in one process do not add up. Replies on WebSockets count as
requests of their path, with the status that HTTP would have.
"""

from __future__ import annotations

from collections import Counter as Numbers
from collections.abc import Callable, Iterator

from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, Counter, Gauge, Histogram, Info, generate_latest
from prometheus_client.core import CounterMetricFamily
from prometheus_client.process_collector import ProcessCollector

CONTENT_TYPE = CONTENT_TYPE_LATEST
_SECONDS = (0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1, 2, 5, 10, 30)
_WINDOWS = (1, 2, 3, 4, 6, 8, 12, 16)


class Metrics:
    """The figures of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
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
        self._connections = Gauge("claprt_connections", "Open WebSockets.", ["endpoint"], registry=self.registry)

    def describe(self, facts: dict[str, str]) -> None:
        """States what runs: model, fingerprint, provider, precision, version."""
        Info("claprt_build", "What runs.", registry=self.registry).info(facts)

    def watch(self, name: str, text: str, value: Callable[[], float]) -> None:
        """Adds a gauge that is read when it is asked for."""
        Gauge(name, text, registry=self.registry).set_function(value)

    def count_refusals(self, numbers: Numbers[str]) -> None:
        """Adds the counter of requests that were turned away, by reason."""
        self.registry.register(_Refusals(numbers))

    def request(self, endpoint: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(endpoint, str(status)).inc()
        self._seconds.labels(endpoint).observe(seconds)

    def stage(self, **seconds: float) -> None:
        """So long some stages of one sound, or of some texts, took."""
        for stage, took in seconds.items():
            self._stages.labels(stage).observe(took)

    def batch(self, windows: int) -> None:
        """So many windows went through the audio tower together."""
        self._batches.observe(windows)

    def connected(self, endpoint: str, change: int) -> None:
        """A WebSocket was opened (1) or has ended (-1)."""
        self._connections.labels(endpoint).inc(change)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self.registry)


class _Refusals:
    """A counter whose numbers are kept elsewhere."""

    def __init__(self, numbers: Numbers[str]) -> None:
        self._numbers = numbers

    def collect(self) -> Iterator[CounterMetricFamily]:
        family = CounterMetricFamily("claprt_rejected", "Requests that were turned away.", labels=["reason"])
        for reason, number in self._numbers.items():
            family.add_metric([reason], number)
        yield family
