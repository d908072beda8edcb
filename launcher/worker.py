"""The RQ workers: they give their job back when they are stopped, and take over what a dead worker left."""

from __future__ import annotations

import logging
import socket
import threading
from collections.abc import Sequence
from types import FrameType
from typing import Any

import psutil
from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker, Worker
from rq.exceptions import NoSuchJobError
from rq.executions import Execution
from rq.job import Job
from rq.worker import BaseWorker

logger = logging.getLogger(__name__)

# A process's start and a worker's birth are stamped by different clocks' roundings.
CLOCK_SLACK_S = 5.0


class PutBack(Exception):
    """The running job is ended because its worker stops; another takes it up."""


class _GivesBack(BaseWorker):
    """Stops at once: a running job is ended and put back at the head of its queue.

    RQ's own workers wait for the job, and are killed with it when patience ends; the job then counts as failed.
    """

    interrupted = False

    def handle_job_failure(self, job: Job, queue: Queue, *args: Any, **kwargs: Any) -> None:
        """Handles a job that ended without a result."""
        if self.interrupted:
            logger.info("Job %s is put back, as the worker stops", job.id)
            job.retries_left = (job.retries_left or 0) + 1
            job.enqueue_at_front_on_retry = True
        else:
            # It failed by itself, and would again: its retries are for workers that die.
            job.retries_left = 0
        super().handle_job_failure(job, queue, *args, **kwargs)


class GarmentWorker(_GivesBack, Worker):
    """Runs each job in a process of its own, which ends with it: for trainings, which take hours and all memory."""

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Handles SIGTERM and SIGINT."""
        if self.horse_pid:
            self.interrupted = True
            self.kill_horse()
        super().request_stop(signum, frame)


class ResidentWorker(_GivesBack, SimpleWorker):
    """Runs all jobs in its own process, where models stay loaded: for jobs that can be ended anywhere and run again."""

    _performing = False

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Handles SIGTERM and SIGINT; ends the running job by an exception."""
        performing = self._performing
        super().request_stop(signum, frame)
        if performing:
            self.interrupted = True
            raise PutBack

    def perform_job(self, job: Job, queue: Queue) -> bool:
        """Runs a job, and goes on telling that it is alive meanwhile."""
        over = threading.Event()
        beats = threading.Thread(target=self._beat, args=(job, over), daemon=True)
        beats.start()
        self._performing = True
        try:
            return super().perform_job(job, queue)
        finally:
            self._performing = False
            over.set()
            beats.join()

    def get_heartbeat_ttl(self, job: Job) -> int:
        """Seconds until the job counts as abandoned: not its whole time limit, as RQ has it for such workers."""
        return self.job_monitoring_interval + 60

    def _beat(self, job: Job, over: threading.Event) -> None:
        while not over.wait(self.job_monitoring_interval):
            try:
                self.maintain_heartbeats(job)
            except RedisError as e:
                logger.warning("Redis is away: %s", e)


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
