"""RQ workers, one queue each. A worker that is stopped puts its job back; the job of one that died is retried.

A job whose worker gives no sign of life is put back by RQ, which counts that as one of the job's retries.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, SimpleWorker, Worker, worker_registration
from rq.exceptions import AbandonedJobError, StopRequested
from rq.executions import Execution
from rq.job import Job
from rq.registry import StartedJobRegistry
from rq.worker import BaseWorker, WorkerStatus

from backend.errors import QueueError
from backend.queues.redis_connection import wait_for_redis, wait_no_longer
from backend.telemetry.problems import Problems

logger = logging.getLogger(__name__)

# A worker gives so many signs of life in the time after which it counts as dead.
BEATS = 6
# RQ waits for a job for all of its `worker_ttl` but this.
RQ_MARGIN_S = 15
# A job may be in the middle of a call that does not return. Must be less than the supervisor's stop timeout.
GIVE_BACK_S = 3.0


class PutBack(BaseException):
    """Ends the running job because its worker stops; the job runs again. Not an `Exception`, which libraries catch."""


class _DrapeWorker(BaseWorker):
    """A worker that stops at once: it ends the running job and puts it back at the head of its queue.

    RQ's own workers wait for the job until the stop timeout kills both; the job would then lose one of its retries.
    """

    log_result_lifespan = False

    def __init__(self, queue: str, *, connection: Redis, lost_after_s: int) -> None:
        """`lost_after_s` is the time without a sign of life after which others run the worker's job."""
        self._lost_after_s = lost_after_s
        beat_s = max(1, lost_after_s // BEATS)
        super().__init__(
            [queue],
            connection=connection,
            exception_handlers=[retry_only_lost_jobs],
            work_horse_killed_handler=self._horse_killed,
            job_monitoring_interval=beat_s,
            maintenance_interval=beat_s,
            worker_ttl=RQ_MARGIN_S + beat_s,
        )

    def work(self, *args: Any, **kwargs: Any) -> bool:
        """Runs jobs until it is stopped, while a thread gives signs of life; waits while Redis does not answer.

        Raises:
            QueueError: this machine's clock is far from Redis'.
        """
        # Without Redis, RQ's own workers end, some in the middle of a job, or do not record that a job is done.
        wait_for_redis(self.connection)
        self._check_clock()
        self.log.addFilter(self._is_worth_logging)
        ended = threading.Event()
        threading.Thread(target=self._beat, args=(ended,), name="heartbeats", daemon=True).start()
        try:
            return super().work(*args, **kwargs)
        finally:
            ended.set()

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Handles SIGTERM and SIGINT: ends the running job, and soon this process, whatever job and Redis do.

        Tells Redis nothing, as RQ would: while it does not answer, RQ would not come to the end of the job.
        """
        if self._stop_requested:
            return
        self._stop_requested = True
        wait_no_longer(self.connection)
        # RQ puts a job back that still runs then, once its signs of life stay away.
        _later(GIVE_BACK_S, os._exit, 0)
        if self.get_state() != WorkerStatus.BUSY:
            raise StopRequested
        self._end_job()

    def get_heartbeat_ttl(self, job: Job) -> int:
        """Seconds without a heartbeat until the job counts as lost."""
        return self._lost_after_s

    def _beat(self, ended: threading.Event) -> None:
        while not ended.wait(self.job_monitoring_interval):
            try:
                self._give_sign_of_life()
            except RedisError as e:
                logger.warning("Redis does not answer: %s", e)
            # Without its signs of life, the job would be given to another worker while it still runs here.
            except Exception:
                logger.exception("A sign of life of this worker failed; the next follows")

    def _give_sign_of_life(self) -> None:
        if self.birth_date is None:
            # RQ would take the record for that of another worker with this name.
            return
        execution = self.execution if self.get_state() == WorkerStatus.BUSY else None
        with self.connection.pipeline() as pipeline:
            if not self.connection.hexists(self.key, "birth"):
                # Redis drops a worker's record while its machine sleeps.
                pipeline.hset(self.key, mapping=self.serialize())
                worker_registration.register(self, pipeline)
            self.heartbeat(self._lost_after_s, pipeline)
            if execution is not None:
                execution.heartbeat(self.queues[0].started_job_registry, self._lost_after_s, pipeline)
            pipeline.execute()

    def _is_worth_logging(self, record: logging.LogRecord) -> bool:
        message = str(record.msg)
        # RQ says the first at every sign of life, and the second of a job that is put back.
        return "cleaning registries" not in message and not (self._stop_requested and "exception raised" in message)

    def _check_clock(self) -> None:
        seconds, microseconds = self.connection.time()
        ahead_s = time.time() - seconds - microseconds / 1e6
        if abs(ahead_s) > self._lost_after_s / 2:
            direction = "ahead of" if ahead_s > 0 else "behind"
            raise QueueError(
                f"This machine's clock is {abs(ahead_s):.0f} s {direction} that of Redis: jobs that run elsewhere "
                "would count as lost. Set the clocks, for example with NTP."
            )

    def _end_job(self) -> None:
        raise NotImplementedError

    def _horse_killed(self, job: Job, *_: Any) -> None:
        _no_longer_taken(job)
        if self._stop_requested:
            _put_back(job)
        elif job.retries_left == 0:
            _report_given_up(job)


class GarmentWorker(_DrapeWorker, Worker):
    """Runs each job in its own process, which ends with the job: for trainings, which take hours and all memory."""

    def handle_job_failure(
        self, job: Job, queue: Queue, started_job_registry: StartedJobRegistry | None = None, exc_string: str = ""
    ) -> None:
        """Records that a job failed, but for a job that another worker has by now."""
        if self._is_anothers(self.execution):
            logger.warning("Job %s is left to another worker, as this one was silent for too long", job.id)
            self.execution = None
            self.set_current_job_id(None)
        else:
            super().handle_job_failure(job, queue, started_job_registry, exc_string)

    def _give_sign_of_life(self) -> None:
        """Ends the job, too, where another worker has it by now, as this one was silent for too long."""
        super()._give_sign_of_life()
        process = self.horse_pid
        # Without one, RQ's `kill_horse` would kill this worker's own processes.
        if process and self._is_anothers(self.execution):
            with suppress(ProcessLookupError):
                os.killpg(process, signal.SIGKILL)

    def _is_anothers(self, execution: Execution | None) -> bool:
        if execution is None:
            return False
        ours = self.connection.zscore(self.queues[0].started_job_registry.key, execution.composite_key) is not None
        # A Redis that has lost everything lists no run, and has no job that another could run.
        return not ours and bool(self.connection.hexists(Job.key_for(execution.job_id), "status"))

    def _end_job(self) -> None:
        if self.horse_pid:
            self.kill_horse()
        elif self.get_state() == WorkerStatus.BUSY:
            # The signal came before RQ started the job's process.
            _later(1.0, self._end_job)


class ResidentWorker(_DrapeWorker, SimpleWorker):
    """Runs all jobs in its own process, where models stay loaded: for jobs that can be interrupted and run again."""

    def _end_job(self) -> None:
        raise PutBack


def retry_only_lost_jobs(job: Job, kind: type[BaseException], error: BaseException, _: TracebackType | None) -> bool:
    """Decides whether a job that ended without a result is retried, as RQ's exception handler; says who was given up.

    A job that failed by itself would fail again: retries are for jobs whose worker died.

    Returns:
        True: RQ then calls its other handlers.
    """
    if issubclass(kind, PutBack | AbandonedJobError):
        _no_longer_taken(job)
    if issubclass(kind, PutBack):
        _put_back(job)
    elif not issubclass(kind, AbandonedJobError):
        job.retries_left = 0
    elif job.retries_left == 0:
        _report_given_up(job)
    return True


def _report_given_up(job: Job) -> None:
    Problems(job.connection).report(
        f"The job {job.id} is given up: each worker that ran it died, most likely for lack of memory.",
        project_id=next((arg for arg in job.args if isinstance(arg, int)), None),
    )


def _later(wait_s: float, function: Callable[..., object], *args: object) -> None:
    timer = threading.Timer(wait_s, function, args)
    timer.daemon = True
    timer.start()


def _no_longer_taken(job: Job) -> None:
    # RQ removes it there as it begins. Of a job that ended before, it would put what is left into the queue once more.
    Queue(job.origin, connection=job.connection).intermediate_queue.remove(job.id)


def _put_back(job: Job) -> None:
    logger.info("Job %s is put back, as the worker stops", job.id)
    job.retries_left = (job.retries_left or 0) + 1
    job.enqueue_at_front_on_retry = True
