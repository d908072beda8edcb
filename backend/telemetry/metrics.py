"""Counters and timings in Prometheus' format, in one registry per service."""

from __future__ import annotations

import time
from collections import defaultdict, deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

# Latencies stored per kind for the status page; Prometheus' histogram counts all answers.
MAX_RECENT = 500
LATENCY_BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 100.0)


@dataclass(frozen=True)
class Latency:
    """Seconds that the latest `count` answers took: the median and the 95th percentile."""

    count: int
    median_s: float
    p95_s: float


class Metrics:
    """The service's metrics: answers by kind, with their times in seconds; webhooks; embeddings."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        counter, gauge = partial(Counter, registry=self.registry), partial(Gauge, registry=self.registry)
        timing = partial(Histogram, buckets=LATENCY_BUCKETS_S, registry=self.registry)
        self._recent: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=MAX_RECENT))
        self.predict_seconds = timing(
            "drape_predict_seconds",
            "Time to answer /predict, in seconds: `interactive` for an annotator's prompt, else `batch`; "
            "or a frame of the live page: `live`",
            ["kind"],
        )
        self.webhooks = counter("drape_webhooks", "Webhooks received, by Label Studio's action", ["action"])
        self.failures = counter("drape_predict_failures", "/predict answered with an error status", ["kind"])
        self.shed = counter("drape_predict_shed", "/predict refused, because of too many requests at once", ["kind"])
        self.in_flight = gauge("drape_predict_in_flight", "/predict being answered, or waiting for it", ["kind"])
        self.encode_seconds = timing("drape_encode_seconds", "Time to encode an image, in seconds")
        self.decode_seconds = timing(
            "drape_decode_seconds",
            "Time from an embedding to masks, in seconds, by SAM's head: `clicks` or `concept` (words, examples)",
            ["head"],
        )
        self.embedding_lookups = counter(
            "drape_embedding_lookups", "Embeddings asked for, by the tier that had them, or `miss`", ["outcome"]
        )
        self.embedding_evictions = counter("drape_embedding_evictions", "Embeddings that a tier evicted", ["tier"])
        self.embedding_bytes = gauge("drape_embedding_bytes", "Size of the cached embeddings, in bytes", ["tier"])

    @contextmanager
    def timed(self, kind: str) -> Iterator[None]:
        """Times one answer; an answer that raises also counts as a failure."""
        started = time.perf_counter()
        with self.predict_seconds.labels(kind=kind).time(), self.failures.labels(kind=kind).count_exceptions():
            yield
        self._recent[kind].append(time.perf_counter() - started)

    def latency(self, kind: str) -> Latency | None:
        """Latency of the latest successful answers of that kind; None before the first."""
        recent = list(self._recent[kind])
        if not recent:
            return None
        median_s, p95_s = np.percentile(recent, (50, 95))
        return Latency(len(recent), float(median_s), float(p95_s))

    def embedding_lookups_by_outcome(self) -> dict[str, int]:
        """How often an embedding was looked up, by the tier that had it, or `miss`."""
        (family,) = self.embedding_lookups.collect()
        return {
            sample.labels["outcome"]: int(sample.value) for sample in family.samples if sample.name.endswith("_total")
        }
