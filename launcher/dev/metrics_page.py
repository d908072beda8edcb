"""The metrics page of the documentation, made from the metrics themselves: `python -m launcher.dev.metrics_page`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from backend.queues.queue_metrics import QueueMetrics
from backend.settings import Settings
from backend.telemetry.metrics import Metrics

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "metrics.md"
HEAD = """\
# Metrics

This page lists every metric. It is made by `python -m launcher.dev.metrics_page` from `backend/telemetry/metrics.py`
and `backend/queues/queue_metrics.py`; do not edit by hand.

`GET /metrics` returns them in Prometheus' format, and needs the same credentials as the other routes:

```yaml
scrape_configs:
  - job_name: drape
    static_configs: [{targets: ["backend:9090"]}]
    basic_auth: {username: label-studio, password_file: /etc/prometheus/drape-password}
```

The metrics of queues, workers and problems are read from Redis at each scrape, and are missing while Redis is
unavailable. All other metrics count what that backend did since it started. [alerts.yml](../alerts.yml) has example
alerting rules for Prometheus.

| metric | kind | labels | what it measures |
| --- | --- | --- | --- |
"""


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


def metrics_table() -> str:
    """The page as Markdown: one row a metric."""
    rows = [
        f"| `{row.name}` | {row.kind} | {', '.join(f'`{label}`' for label in row.labels)} | {row.description}. |"
        for row in metric_rows()
    ]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(metrics_table())
