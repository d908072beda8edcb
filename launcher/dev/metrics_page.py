"""The metrics page of the documentation, made from the metrics themselves: `python -m launcher.dev.metrics_page`."""

from __future__ import annotations

import sys
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

`GET /metrics` gives them in Prometheus' form, with the same credentials as everything else:

```yaml
scrape_configs:
  - job_name: drape
    static_configs: [{targets: ["backend:9090"]}]
    basic_auth: {username: label-studio, password_file: /etc/prometheus/drape-password}
```

What Redis knows (queues, workers, problems) is asked for anew at each scrape, and missing while Redis is away; all else
is counted by that backend since it was started. [alerts.yml](../alerts.yml) is a file of Prometheus rules to begin
with.

| metric | kind | labels | what it tells |
| --- | --- | --- | --- |
"""


@dataclass(frozen=True)
class Described:
    """A metric as Prometheus sees it; a counter's name ends in `_total`."""

    name: str
    kind: str
    labels: tuple[str, ...]
    said: str


def described() -> list[Described]:
    """Every metric that `GET /metrics` may hold."""
    of_service = (metric for metric in vars(Metrics()).values() if hasattr(metric, "describe"))
    return [*chain.from_iterable(_of(metric) for metric in of_service), *_of(QueueMetrics(Settings()))]


def _of(collector: Any) -> Iterator[Described]:
    for family in collector.describe():
        # The client has no public way to ask for them; a family of a single metric has those of the metric.
        labels = getattr(collector, "_labelnames", ()) or getattr(family, "_labelnames", ())
        name = f"{family.name}_total" if family.type == "counter" else family.name
        yield Described(name, family.type, tuple(labels), family.documentation)


def metrics_table() -> str:
    """The page as Markdown: one row a metric."""
    rows = [
        f"| `{one.name}` | {one.kind} | {', '.join(f'`{label}`' for label in one.labels)} | {one.said}. |"
        for one in described()
    ]
    return HEAD + "\n".join(rows) + "\n"


if __name__ == "__main__":
    sys.exit(0 if PAGE.write_text(metrics_table()) else 1)
