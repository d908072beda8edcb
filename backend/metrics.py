"""Counters and timings in Prometheus' form, one registry a service."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from prometheus_client import CollectorRegistry, Counter, Histogram

LATENCY_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 100.0)


class Metrics:
    """What is counted: answers of `/predict` by kind, with their times in seconds; webhooks by action."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.predict_seconds = Histogram(
            "drape_predict_seconds",
            "Time to answer /predict, in seconds",
            ["kind"],
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self.webhooks = Counter("drape_webhooks", "Webhooks received", ["action"], registry=self.registry)
        self.failures = Counter(
            "drape_predict_failures", "/predict answered with an error", ["kind"], registry=self.registry
        )

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        """Times one answer; an answer that raises is counted as a failure too."""
        with self.predict_seconds.labels(kind=kind).time(), self.failures.labels(kind=kind).count_exceptions():
            yield
