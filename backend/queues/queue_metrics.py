"""Metrics of queues, workers and problems in Prometheus' format, read from Redis at every scrape."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from redis import Redis
from redis.exceptions import RedisError
from rq import Queue
from rq.cron import CronScheduler
from rq.job import Job
from rq.utils import now

from backend.queues.backlog import waiting_tasks
from backend.queues.queues import QUEUES
from backend.queues.redis_connection import workers_of
from backend.settings import Settings
from backend.telemetry.problems import COUNT_KEY

logger = logging.getLogger(__name__)

# Prometheus gives a scrape ten seconds, and the service's other metrics must still arrive.
TIMEOUT_S = 2.0


class QueueMetrics(Collector):
    """The Prometheus collector; while Redis does not answer it yields `drape_redis_up` alone."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def describe(self) -> Iterator[Metric]:
        """Yields every metric without values: for the documentation."""
        yield _reachable()
        yield from (_jobs(), _oldest(), _tasks(), _workers(), _timers(), _problems())

    def collect(self) -> Iterator[Metric]:
        """Yields every metric that can be read now."""
        try:
            metrics = list(self._read())
        except RedisError as e:
            logger.warning("Redis does not answer, so the metrics of its queues are missing: %s", type(e).__name__)
            metrics = []
        reachable = _reachable()
        reachable.add_metric([], 1.0 if metrics else 0.0)
        yield reachable
        yield from metrics

    def _read(self) -> Iterator[Metric]:
        # A connection of its own, with short timeouts and no retry: a Redis that hangs must not hold up the scrape.
        url = self._settings.redis_address
        with closing(Redis.from_url(url, socket_connect_timeout=TIMEOUT_S, socket_timeout=TIMEOUT_S)) as redis:
            jobs, oldest, tasks, workers = _jobs(), _oldest(), _tasks(), _workers()
            queues_of = [worker.queue_names() for worker in workers_of(redis)]
            for name in QUEUES:
                queue = Queue(name, connection=redis)
                jobs.add_metric([name, "waiting"], len(queue))
                # Without RQ's clean-up: a scrape must not change anything.
                jobs.add_metric([name, "running"], len(queue.started_job_registry.get_job_ids(cleanup=False)))
                jobs.add_metric([name, "failed"], len(queue.failed_job_registry.get_job_ids(cleanup=False)))
                oldest.add_metric([name], _waited_s(queue))
                workers.add_metric([name], sum(name in names for names in queues_of))
            tasks.add_metric([], sum(waiting_tasks(redis, "prelabel").values()))
            timers, problems = _timers(), _problems()
            timers.add_metric([], len(CronScheduler.all(redis, cleanup=False)))
            problems.add_metric([], int(redis.get(COUNT_KEY) or 0))
            yield from (jobs, oldest, tasks, workers, timers, problems)


def _waited_s(queue: Queue) -> float:
    """How long the job at the head of the queue has waited, in seconds; 0 where no job waits."""
    jobs = Job.fetch_many(queue.get_job_ids(0, 1), connection=queue.connection)
    waited = [(now() - job.enqueued_at).total_seconds() for job in jobs if job is not None and job.enqueued_at]
    return max([0.0, *waited])


def _reachable() -> GaugeMetricFamily:
    return GaugeMetricFamily("drape_redis_up", "1 while Redis answers, else 0, and the metrics below are missing")


def _jobs() -> GaugeMetricFamily:
    said = "Jobs by queue and state: `waiting`, `running`, `failed` (kept for a week)"
    return GaugeMetricFamily("drape_queue_jobs", said, labels=["queue", "state"])


def _oldest() -> GaugeMetricFamily:
    said = "How long the job has waited that has waited longest, in seconds; 0 where none waits"
    return GaugeMetricFamily("drape_queue_wait_seconds", said, labels=["queue"])


def _tasks() -> GaugeMetricFamily:
    return GaugeMetricFamily("drape_tasks_to_prelabel", "Tasks that wait for pre-annotation and are in no job yet")


def _workers() -> GaugeMetricFamily:
    return GaugeMetricFamily("drape_workers", "Workers by queue that they work on", labels=["queue"])


def _timers() -> GaugeMetricFamily:
    return GaugeMetricFamily("drape_timers", "Timers (`drape timer`) that run")


def _problems() -> CounterMetricFamily:
    return CounterMetricFamily("drape_problems", "Problems that `GET /status` was told of, by all processes")
