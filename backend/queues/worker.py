"""RQ workers that requeue their job when they are stopped, and requeue the claimed jobs of dead workers."""

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
from backend.telemetry.request_ids import job_context

logger = logging.getLogger(__name__)

# An idle worker waits for a job this long before it checks for claims of dead workers again.
WAIT_S = 10
# RQ's `worker_ttl`: RQ waits for a job for all of it but the last 15 seconds.
WORKER_TTL_S = WAIT_S + 15
# As in RQ: this long after a heartbeat is due, the worker and its job count as lost.
GIVEN_UP_S = 60
# When the job is over, the worker waits no longer than this for a heartbeat that hangs.
BEAT_PATIENCE_S = 2.0
# A job may be in the middle of a write that Label Studio, which is stopping too, never answers. Must be less than the
# supervisor's stop timeout, after which it kills the worker with its job.
GIVE_BACK_S = 3.0


class PutBack(BaseException):
    """Ends the running job because its worker stops; the job runs again. Not an `Exception`, which libraries catch."""


class _GivesBack(BaseWorker):
    """A worker that stops at once: it ends the running job and requeues it at the head of its queue.

    RQ's own workers wait for the job until the stop timeout kills both; the job then counts as failed.
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
        """Runs jobs until it is stopped; waits while Redis does not answer."""
        # Without Redis, RQ's own workers end, some in the middle of a job, or do not record that a job is done.
        wait_for_redis(self.connection)
        return super().work(*args, **kwargs)

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Handles SIGTERM and SIGINT."""
        wait_no_longer(self.connection)
        super().request_stop(signum, frame)

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Sends the heartbeat with the whole worker record, which Redis drops after a long silence."""
        told = self.connection.pipeline() if pipeline is None else pipeline
        super().heartbeat(timeout, told)
        told.hset(self.key, mapping=self.serialize())
        worker_registration.register(self, told)
        if pipeline is None:
            told.execute()

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[Job, Queue] | None:
        """Waits for a job; every `WAIT_S` it requeues jobs that dead workers took but did not start."""
        while True:
            put_back_claims(self.connection, self.queue_names())
            found = super().dequeue_job_and_maintain_ttl(timeout, max_idle_time or (timeout and WAIT_S))
            if found is not None or timeout is None or max_idle_time is not None:
                return found

    def execute_job(self, job: Job, queue: Queue) -> None:
        """Runs a job, unless the worker has lost its claim or the job was deleted since it was taken off the queue."""
        if holds(queue, job.id, worker=self.name):
            super().execute_job(job, queue)
        else:
            logger.warning("Job %s is another's by now, or was cancelled: it is left alone", job.id)
            begun(self.queues, job.id, worker=self.name)

    def prepare_execution(self, job: Job) -> Execution:
        """Records that the job runs, and releases the claim on it."""
        execution = super().prepare_execution(job)
        begun(self.queues, job.id, worker=self.name)
        return execution

    def maintain_heartbeats(self, job: Job) -> None:
        """Sends the heartbeats of worker and job; only the worker's once the job was given up and is another's."""
        if self.execution is not None and not self.connection.exists(self.execution.key):
            # RQ would write an incomplete execution record, which cannot be read.
            self.heartbeat(self.job_monitoring_interval + GIVEN_UP_S)
        else:
            super().maintain_heartbeats(job)

    def cleanup_execution(self, job: Job, pipeline: Pipeline) -> None:
        """Removes the job from the running jobs."""
        # RQ repeats this where Redis did not answer, but has reset `self.execution` the first time.
        execution = self.execution
        super().cleanup_execution(job, pipeline)
        self.execution = execution

    def perform_job(self, job: Job, queue: Queue) -> bool:
        """Runs a job under the id of the request that queued it."""
        with job_context(job.id, job.get_meta(refresh=False)):
            return super().perform_job(job, queue)

    def handle_job_failure(self, job: Job, queue: Queue, *args: Any, **kwargs: Any) -> None:
        """Decides whether a job that ended without a result is retried."""
        if self.interrupted:
            logger.info("Job %s is put back, as the worker stops", job.id)
            job.retries_left = (job.retries_left or 0) + 1
            job.enqueue_at_front_on_retry = True
        elif not self.killed:
            # The job itself failed, and would fail again: retries are for jobs whose process died.
            job.retries_left = 0
        self.killed = False
        super().handle_job_failure(job, queue, *args, **kwargs)


class GarmentWorker(_GivesBack, Worker):
    """Runs each job in its own process, which ends with the job: for trainings, which take hours and all memory."""

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Starts the job's process; kills it at once where the worker was asked to stop while it took the job."""
        super().fork_work_horse(job, queue)
        if self._stop_requested:
            self.interrupted = True
            self.kill_horse()

    def handle_work_horse_killed(self, job: Job, retpid: int, ret_val: int, rusage: Any) -> None:
        """Lets a job be retried whose process was killed, most likely for lack of memory."""
        super().handle_work_horse_killed(job, retpid, ret_val, rusage)
        self.killed = True

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Handles SIGTERM and SIGINT."""
        if self.horse_pid:
            self.interrupted = True
            self.kill_horse()
        super().request_stop(signum, frame)


class ResidentWorker(_GivesBack, SimpleWorker):
    """Runs all jobs in its own process, where models stay loaded: for jobs that can be interrupted and run again."""

    _performing = False

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Handles SIGTERM and SIGINT; ends the running job with `PutBack`."""
        performing = self._performing
        threading.Thread(target=self._end_anyhow, daemon=True).start()
        super().request_stop(signum, frame)
        if performing:
            self.interrupted = True
            raise PutBack

    def perform_job(self, job: Job, queue: Queue) -> bool:
        """Runs a job while a thread sends heartbeats."""
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
        """Requeues a job that has not ended within `GIVE_BACK_S`, and ends this process whatever still runs in it."""
        time.sleep(GIVE_BACK_S)
        try:
            execution = self.execution
            if self._performing and execution is not None:
                queue = next(one for one in self.queues if one.name == execution.job.origin)
                if put_back_execution(queue, execution):
                    logger.warning("Job %s does not end: it is put back, and its process ended", execution.job_id)
            self.register_death()
        except RedisError as e:
            # The next worker that starts finds the job and requeues it.
            logger.warning("Redis is away: %s", e)
        finally:
            os._exit(0)

    def get_heartbeat_ttl(self, job: Job) -> int:
        """Seconds without a heartbeat until the job counts as lost; RQ's `SimpleWorker` waits for the job's timeout."""
        return self.job_monitoring_interval + GIVEN_UP_S

    def _beat(self, job: Job, over: threading.Event) -> None:
        while not over.wait(self.job_monitoring_interval):
            try:
                self.maintain_heartbeats(job)
            except RedisError as e:
                logger.warning("Redis is away: %s", e)
