"""Gauges of queues and workers, scraped from the service on a real Redis, and while that is away."""

from __future__ import annotations

from datetime import timedelta

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families
from rq import Queue
from rq.utils import now

from backend.queues.queues import CHECKS, PRELABEL, QUEUES, TRAIN
from backend.queues.worker import ResidentWorker
from backend.timer import timer
from tests.backend.conftest import Served

pytestmark = pytest.mark.services


def scraped(client: httpx.Client) -> dict[tuple[str, ...], float]:
    """Name and label values → value, as Prometheus reads them."""
    text = client.get("/metrics").raise_for_status().text
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_an_idle_service_tells_zeros(backend: Served) -> None:
    found = scraped(backend.client)
    assert found["drape_redis_up",] == 1
    assert {found["drape_queue_jobs", queue, "waiting"] for queue in QUEUES} == {0}
    assert {found["drape_workers", queue] for queue in QUEUES} == {0}
    assert {found["drape_queue_wait_seconds", queue] for queue in QUEUES} == {0}
    assert found["drape_timers",] == 0 and found["drape_problems_total",] == 0


def test_what_waits_runs_and_goes_wrong_is_counted(backend: Served) -> None:
    queues = backend.service.connections.queues
    queues.enqueue_check(3)
    queues.prelabelling(3, version="v").add(range(200))
    first = Queue(PRELABEL, connection=queues.redis).get_jobs()[0]
    first.enqueued_at = now() - timedelta(seconds=100)
    first.save()
    worker = ResidentWorker(CHECKS, connection=queues.redis, lost_after_s=30)
    worker.register_birth()
    timer(queues.redis, every_s=600).register_birth()
    for _ in range(120):
        backend.service.connections.problems.report("The image is gone.", project_id=3)
    found = scraped(backend.client)
    assert found["drape_queue_jobs", CHECKS, "waiting"] == 1
    assert found["drape_queue_jobs", PRELABEL, "waiting"] == 1
    assert found["drape_tasks_to_prelabel",] == 200 - backend.service.connections.settings.prelabel_chunk
    assert 100 <= found["drape_queue_wait_seconds", PRELABEL] < 200
    assert [found["drape_workers", queue] for queue in (CHECKS, PRELABEL, TRAIN)] == [1, 0, 0]
    assert found["drape_timers",] == 1
    # More than are kept.
    assert found["drape_problems_total",] == 120


def test_without_redis_the_rest_is_told(client_without_redis: httpx.Client) -> None:
    found = scraped(client_without_redis)
    assert found["drape_redis_up",] == 0
    assert not any(name[0].startswith(("drape_queue", "drape_workers", "drape_timers")) for name in found)
