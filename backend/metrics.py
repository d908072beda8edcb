"""Counters and timings in Prometheus' form, one registry a service."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

LATENCY_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 100.0)


class Sized(Protocol):
    """A place whose fill is watched."""

    @property
    def name(self) -> str: ...
    @property
    def used_bytes(self) -> int: ...


class Metrics:
    """What is counted: answers of `/predict` by kind, with their times in seconds; webhooks by action; embeddings."""

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
        self.encode_seconds = Histogram(
            "drape_encode_seconds",
            "Time to encode an image, in seconds",
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self.decode_seconds = Histogram(
            "drape_decode_seconds",
            "Time from an embedding to masks, in seconds",
            ["head"],
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self.embedding_lookups = Counter(
            "drape_embedding_lookups", "Embeddings asked for, by the tier that had them", ["outcome"],
            registry=self.registry,
        )  # fmt: skip
        self.embedding_evictions = Counter(
            "drape_embedding_evictions", "Embeddings that a tier let go", ["tier"], registry=self.registry
        )
        self.embedding_bytes = Gauge(
            "drape_embedding_bytes", "Size of the kept embeddings, in bytes", ["tier"], registry=self.registry
        )

    def watch_embeddings(self, tiers: Iterable[Sized]) -> None:
        """Shows the fill of the tiers, read whenever metrics are asked for."""
        for tier in tiers:
            self.embedding_bytes.labels(tier=tier.name).set_function(lambda tier=tier: tier.used_bytes)  # type: ignore[misc]

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        """Times one answer; an answer that raises is counted as a failure too."""
        with self.predict_seconds.labels(kind=kind).time(), self.failures.labels(kind=kind).count_exceptions():
            yield
