"""The RQ worker: gives its job back when it is stopped, and takes over what a dead worker left."""

from __future__ import annotations

import logging
import socket
from collections.abc import Sequence
from types import FrameType
from typing import Any

import psutil
from redis import Redis
from rq import Queue, Worker
from rq.exceptions import NoSuchJobError
from rq.executions import Execution
from rq.job import Job
from rq.worker import BaseWorker

logger = logging.getLogger(__name__)

# A process's start and a worker's birth are stamped by different clocks' roundings.
CLOCK_SLACK_S = 5.0


class GarmentWorker(Worker):
    """Stops at once: a running job is ended and put back at the head of its queue, as a training can take hours.

    RQ's own worker waits for the job, and is killed with it when patience ends; the job then counts as failed.
    """

    interrupted = False

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Handles SIGTERM and SIGINT."""
        if self.horse_pid:
            self.interrupted = True
            self.kill_horse()
        super().request_stop(signum, frame)

    def handle_job_failure(self, job: Job, queue: Queue, *args: Any, **kwargs: Any) -> None:
        """Handles a job that ended without a result."""
        if self.interrupted:
            logger.info("Job %s is put back, as the worker stops", job.id)
            job.retries_left = (job.retries_left or 0) + 1
            job.enqueue_at_front_on_retry = True
        super().handle_job_failure(job, queue, *args, **kwargs)


def put_back_lost_jobs(connection: Redis, queues: Sequence[str]) -> list[str]:
    """Puts jobs back whose worker was killed outright, at the head of their queues.

    RQ itself finds them after minutes, and then only marks them as failed. To be called before a worker starts.

    Returns:
        Ids of the jobs that were put back.
    """
    for worker in Worker.all(connection=connection):
        if _is_dead(worker):
            logger.warning("Worker %s is dead; its jobs are put back", worker.name)
            worker.register_death()
    alive = {worker.name for worker in Worker.all(connection=connection)}
    lost = []
    for name in queues:
        queue = Queue(name, connection=connection)
        # Without RQ's own clean-up, which would fail them.
        for job_id, execution_id in queue.started_job_registry.get_job_and_execution_ids(cleanup=False):
            execution = Execution(execution_id, job_id, connection)
            if _worker_of(execution) not in alive and _put_back(queue, execution):
                lost.append(job_id)
    return lost


def _is_dead(worker: BaseWorker) -> bool:
    """Whether the worker ran on this machine and does no longer; of others only their heartbeat tells."""
    if worker.hostname != socket.gethostname() or worker.pid is None or worker.birth_date is None:
        return False
    try:
        process = psutil.Process(worker.pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return True
        started_at = process.create_time()
    except psutil.NoSuchProcess:
        return True
    # The number may belong to another process by now.
    return started_at > worker.birth_date.timestamp() + CLOCK_SLACK_S


def _worker_of(execution: Execution) -> str:
    try:
        execution.refresh()
    except ValueError:
        # Its record lives as long as heartbeats come.
        return ""
    return execution.worker_name


def _put_back(queue: Queue, execution: Execution) -> bool:
    # Whoever takes the entry away puts the job back: two workers may start at once.
    if not queue.connection.zrem(queue.started_job_registry.key, execution.composite_key):
        return False
    try:
        job = Job.fetch(execution.job_id, connection=queue.connection)
    except NoSuchJobError:
        return False
    queue.enqueue_job(job, at_front=True)
    with queue.connection.pipeline() as pipeline:
        execution.delete(job=job, pipeline=pipeline)
        pipeline.execute()
    return True
