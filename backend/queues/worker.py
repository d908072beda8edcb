"""The RQ workers: they give their job back when they are stopped, and look for what dead ones left."""

from __future__ import annotations

import logging
import os
import threading
import time
from types import FrameType
from typing import Any

from redis.client import Pipeline
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker, Worker, worker_registration
from rq.executions import Execution
from rq.job import Job
from rq.worker import BaseWorker

from backend.queues.job_claims import ClaimedQueue, begun, holds
from backend.queues.lost_jobs import put_back_claims, put_back_execution
from backend.queues.redis_connection import wait_for_redis, wait_no_longer
from backend.telemetry.request_ids import job_of_request

logger = logging.getLogger(__name__)

# How long a worker that has nothing to do waits for a job at a time.
WAIT_S = 10
# RQ's life of a worker's record, of which it waits all but the last 15 seconds for a job.
WORKER_TTL_S = WAIT_S + 15
# RQ's, after the heart beat that did not come.
GIVEN_UP_S = 60
# A heart beat that hangs is not waited for when the job is over.
BEAT_PATIENCE_S = 2.0
# A job may be in the middle of a write that Label Studio, which stops as well, never answers. Less than a supervisor's
# patience, which would kill the worker with its job.
GIVE_BACK_S = 3.0


class PutBack(BaseException):
    """The running job is ended because its worker stops; another takes it up. No library takes it for an error."""


class _GivesBack(BaseWorker):
    """Stops at once: a running job is ended and put back at the head of its queue.

    RQ's own workers wait for the job, and are killed with it when patience ends; the job then counts as failed.
    """

    queue_class = ClaimedQueue
    interrupted = False
    killed = False

    def __init__(self, *args: Any, **others: Any) -> None:
        super().__init__(*args, **{"worker_ttl": WORKER_TTL_S, **others})
        for queue in self.queues:
            if isinstance(queue, ClaimedQueue):
                queue.worker = self.name

    def work(self, *args: Any, **kwargs: Any) -> bool:
        """Works until it is stopped; while Redis is away it waits for it."""
        # RQ's own workers end, some of them in the middle of a job, or forget the job that they have just done.
        wait_for_redis(self.connection)
        return super().work(*args, **kwargs)

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Handles SIGTERM and SIGINT."""
        wait_no_longer(self.connection)
        super().request_stop(signum, frame)

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Tells that it is there, and who it is: Redis forgets a worker that was silent for long."""
        told = self.connection.pipeline() if pipeline is None else pipeline
        super().heartbeat(timeout, told)
        told.hset(self.key, mapping=self.serialize())
        worker_registration.register(self, told)
        if pipeline is None:
            told.execute()

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """Waits for a job; meanwhile looks, again and again, for those that others took and can no longer begin."""
        while True:
            put_back_claims(self.connection, self.queue_names())
            found = super().dequeue_job_and_maintain_ttl(timeout, max_idle_time or (timeout and WAIT_S))
            if found is not None or timeout is None or max_idle_time is not None:
                return found

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Runs a job, unless it was given to another, or taken back, since it was taken off the queue."""
        if holds(queue, job.id, worker=self.name):
            super().execute_job(job, queue)
        else:
            logger.warning("Job %s is another's by now, or was cancelled: it is left alone", job.id)
            begun(self.queues, job.id, worker=self.name)

    def prepare_execution(self, job: Job) -> Execution:
        """Notes that the job runs."""
        execution = super().prepare_execution(job)
        begun(self.queues, job.id, worker=self.name)
        return execution

    def maintain_heartbeats(self, job: Job) -> None:
        """Tells that the job goes on, unless it was given up meanwhile, and is another worker's."""
        if self.execution is not None and not self.connection.exists(self.execution.key):
            # RQ would leave half a record, which nobody can read.
            self.heartbeat(self.job_monitoring_interval + GIVEN_UP_S)
        else:
            super().maintain_heartbeats(job)

    def cleanup_execution(self, job: Job, pipeline: Pipeline) -> None:
        """Takes the job off the list of those that run."""
        # RQ does so once more where Redis did not answer, and would have forgotten what to take off.
        execution = self.execution
        super().cleanup_execution(job, pipeline)
        self.execution = execution

    def perform_job(self, job: Job, queue: Queue) -> bool:
        """Runs a job, in the name of the request that it came from."""
        with job_of_request(job.id, job.get_meta(refresh=False)):
            return super().perform_job(job, queue)

    def handle_job_failure(self, job: Job, queue: Queue, *args: Any, **kwargs: Any) -> None:
        """Handles a job that ended without a result."""
        if self.interrupted:
            logger.info("Job %s is put back, as the worker stops", job.id)
            job.retries_left = (job.retries_left or 0) + 1
            job.enqueue_at_front_on_retry = True
        elif not self.killed:
            # It failed by itself, and would again: its retries are for workers that die.
            job.retries_left = 0
        self.killed = False
        super().handle_job_failure(job, queue, *args, **kwargs)


class GarmentWorker(_GivesBack, Worker):
    """Runs each job in a process of its own, which ends with it: for trainings, which take hours and all memory."""

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Gives the job its process; ends it at once where the worker was asked to end as it took the job."""
        super().fork_work_horse(job, queue)
        if self._stop_requested:
            self.interrupted = True
            self.kill_horse()

    def handle_work_horse_killed(self, job: Job, retpid: int, ret_val: int, rusage: Any) -> None:
        """Handles a job whose process was killed, most likely for want of memory: it is tried again."""
        super().handle_work_horse_killed(job, retpid, ret_val, rusage)
        self.killed = True

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
        threading.Thread(target=self._end_anyhow, daemon=True).start()
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
            beats.join(BEAT_PATIENCE_S)

    def _end_anyhow(self) -> None:
        """Ends this process where its job, or a thread of it, goes on regardless; the job is put back first."""
        time.sleep(GIVE_BACK_S)
        try:
            execution = self.execution
            if self._performing and execution is not None:
                queue = next(one for one in self.queues if one.name == execution.job.origin)
                if put_back_execution(queue, execution):
                    logger.warning("Job %s does not end: it is put back, and its process ended", execution.job_id)
            self.register_death()
        except RedisError as e:
            # Whoever starts next finds it.
            logger.warning("Redis is away: %s", e)
        finally:
            os._exit(0)

    def get_heartbeat_ttl(self, job: Job) -> int:
        """Seconds until the job counts as abandoned: not its whole time limit, as RQ has it for such workers."""
        return self.job_monitoring_interval + GIVEN_UP_S

    def _beat(self, job: Job, over: threading.Event) -> None:
        while not over.wait(self.job_monitoring_interval):
            try:
                self.maintain_heartbeats(job)
            except RedisError as e:
                logger.warning("Redis is away: %s", e)
