"""Queues checks of every project at fixed intervals, which make up for lost webhooks."""

from __future__ import annotations

import logging
from types import FrameType

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError
from rq.cron import CronScheduler

from backend.errors import LabelStudioUnavailableError, StorageUnavailableError
from backend.label_studio.client import LabelStudio
from backend.queues.job_function import job_function
from backend.queues.queues import CHECK_RETRY_S, CHECK_TIMEOUT_S, CHECKS, Queues
from backend.queues.redis_connection import retry_for_a_while, wait_for_redis, wait_no_longer
from backend.registry.registry import Registry
from backend.settings import Settings
from backend.status.audits import Audits
from backend.status.gone_projects import GoneProjects
from backend.status.survey import Surveys
from backend.storage.retry import retrying

logger = logging.getLogger(__name__)


@job_function
def look_after() -> dict[str, int]:
    """The RQ job that queues, for every project, a count of approved labels and a plan of its pre-annotation.

    Every project of Label Studio counts that has a model, or a webhook with Drape's secret. The others
    leave the status page.

    Returns:
        The number of `projects`; 0 where Label Studio or the storage did not answer in time: the timer soon
            queues the next job.

    Raises:
        LabelStudioError: Label Studio refuses the credentials, or the request.
        QueueError: Redis does not answer.
    """
    settings = Settings()
    queues = Queues(settings)
    retry_for_a_while(queues.redis)
    queues.begin_look()
    try:
        # Retries end before the timer queues this job again: otherwise jobs would pile up.
        for attempt in retrying(timeout_s=min(settings.check_every_s, CHECK_RETRY_S)):
            with attempt:
                label_studio = LabelStudio(settings)
                connected = label_studio.projects_with_webhook(settings.webhook_secret)
                # The models of a deleted project are kept, but its jobs would fail every time.
                known, with_models = label_studio.project_ids(), set(Registry.of(settings).project_ids())
    except (LabelStudioUnavailableError, StorageUnavailableError) as e:
        logger.warning("%s The next look is due within %s s", e, settings.check_every_s)
        return {"projects": 0}
    surveys, audits = Surveys(queues.redis), Audits(queues.redis)
    GoneProjects(queues.redis).remember(with_models - known)
    surveys.forget(set(surveys.all()) - known)
    audits.forget(set(map(int, audits.all())) - known)
    served = sorted({*(with_models & known), *connected})
    for project_id in served:
        queues.enqueue_check(project_id)
        queues.enqueue_plan(project_id)
    logger.info("Looking after the projects %s", served)
    return {"projects": len(served)}


class _WaitingScheduler(CronScheduler):
    """A scheduler that waits while Redis does not answer; RQ's own scheduler ends."""

    def start(self) -> None:
        """Queues due jobs until it is stopped."""
        wait_for_redis(self.connection)
        super().start()

    def _request_stop(self, signum: int, frame: FrameType | None) -> None:
        wait_no_longer(self.connection)
        super()._request_stop(signum, frame)

    def register_death(self, pipeline: Pipeline | None = None) -> None:
        """Removes it from RQ's list of schedulers; if Redis does not answer, the entry expires later."""
        try:
            super().register_death(pipeline)
        except RedisError as e:
            logger.warning("Redis does not answer: %s", e)


def timer(connection: Redis, *, every_s: int) -> CronScheduler:
    """Returns the scheduler, which queues `look_after` when it starts and every `every_s` seconds."""
    scheduler = _WaitingScheduler(connection=connection)
    scheduler.register(look_after, queue_name=CHECKS, interval=every_s, job_timeout=CHECK_TIMEOUT_S)
    return scheduler
