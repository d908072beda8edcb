"""The metrics page of the documentation, made from the metrics themselves: `python -m launcher.dev.metrics_page`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from backend.queues.queue_metrics import QueueMetrics
from backend.settings import Settings
from backend.telemetry.metrics import Metrics
from launcher.dev.generated_page import DOCS, markdown_table, with_generated_part

PAGE = DOCS / "reference" / "metrics.md"


@dataclass(frozen=True)
class MetricRow:
    """A metric as Prometheus sees it; a counter's name ends in `_total`."""

    name: str
    kind: str
    labels: tuple[str, ...]
    description: str


def metric_rows() -> list[MetricRow]:
    """Every metric that `GET /metrics` may return."""
    collectors = [metric for metric in vars(Metrics()).values() if hasattr(metric, "describe")]
    return [*chain.from_iterable(map(_rows_of, [*collectors, QueueMetrics(Settings())]))]


def _rows_of(collector: Any) -> Iterator[MetricRow]:
    for family in collector.describe():
        # The client has no public way to read label names; a family of a single metric has those of the metric.
        labels = getattr(collector, "_labelnames", ()) or getattr(family, "_labelnames", ())
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield MetricRow(name, family.type, tuple(labels), family.documentation)


def metrics_page() -> str:
    """The page as Markdown: one row a metric."""
    rows = [
        (f"`{row.name}`", row.kind, ", ".join(f"`{label}`" for label in row.labels), f"{row.description}.")
        for row in metric_rows()
    ]
    return with_generated_part(PAGE, markdown_table(("metric", "kind", "labels", "what it measures"), rows))


if __name__ == "__main__":
    PAGE.write_text(metrics_page())
