"""The page of metrics is that of the classes; the example alerts ask for metrics and labels that there are."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from backend.queues.queues import QUEUES
from launcher.dev.metrics_page import PAGE, metric_rows, metrics_page

ALERTS = Path(__file__).parent.parent.parent.parent / "docs" / "alerts.yml"
# What a histogram is asked for by.
PARTS = ("_bucket", "_count", "_sum")


def rules() -> list[dict[str, Any]]:
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    return list(group["rules"])


def test_the_page_in_the_docs_is_that_of_the_classes() -> None:
    assert PAGE.read_text() == metrics_page()


def test_every_metric_is_described_once() -> None:
    names = [one.name for one in metric_rows()]
    assert len(set(names)) == len(names) >= 14
    by_name = {one.name: one for one in metric_rows()}
    assert by_name["drape_predict_seconds"].labels == ("kind",)
    assert by_name["drape_webhooks_total"].kind == "counter"
    assert by_name["drape_queue_jobs"].labels == ("queue", "state")


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_an_alert_asks_for_what_there_is_and_says_what_to_do(rule: dict[str, Any]) -> None:
    known = {one.name: one for one in metric_rows()}
    asked = re.findall(r"\b(drape_\w+)(?:\{([^}]*)\})?", rule["expr"])
    assert asked or 'up{job="drape"}' in rule["expr"]
    for name, labels in asked:
        part = next((part for part in PARTS if name.endswith(part) and name not in known), "")
        metric = known[name.removesuffix(part)]
        assert (metric.kind == "histogram") == bool(part)
        for label, values in re.findall(r"(\w+)=~?\"([^\"]*)\"", labels):
            assert label in metric.labels
            if label == "queue":
                assert set(values.split("|")) <= set(QUEUES)
    assert rule["labels"]["severity"] in ("warning", "critical")
    assert rule["annotations"]["summary"].endswith(".") and rule["annotations"]["action"].endswith(".")


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed (Debian: apt install prometheus)")
def test_prometheus_reads_the_alerts() -> None:
    done = subprocess.run(["promtool", "check", "rules", str(ALERTS)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
