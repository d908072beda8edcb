"""Where a project stands: what is annotated, how long that takes, and how much people change predictions.

`training.annotations.survey` takes a survey with every count of approved labels; this module stores it for display.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter
from redis import Redis

from backend.queues.redis_connection import redis_errors

logger = logging.getLogger(__name__)

# Hash, project id → JSON of its last survey; if it is lost, the next count stores it again.
KEY = "drape:surveys"

Origin = Literal["scratch", "prediction", "accepted"]


@dataclass(frozen=True)
class Work:
    """The annotations of one origin that were made on one day, or on all days.

    Attributes:
        day: ISO 8601, UTC; None for all days together.
        origin: `scratch`: by people, on a blank image; `prediction`: by people who began with a prediction or with an
            auto-accepted annotation; `accepted`: by auto-accept alone.
        images: number of annotated images.
        timed: number of these whose working time Label Studio knows.
        median_s: median of those working times, in seconds; None where none is known. Label Studio counts all the time
            that an annotation was open, and adds to it when a person opens it again and saves: so a pause or a later
            correction makes it longer.
    """

    day: str | None
    origin: Origin
    images: int
    timed: int
    median_s: float | None


@dataclass(frozen=True)
class Corrections:
    """How much people change the predictions that they are shown.

    Attributes:
        shown: number of people's approved annotations that began with a prediction, which Label Studio still stores,
            and that were compared with it.
        unchanged: how many of these equal their prediction, pixel by pixel.
        garments: number of garments in these annotations, including those only in their predictions.
        mean_iou, median_iou: IoU of each garment's masks, as shown and as approved, in `[0, 1]`; a garment that was
            added, removed, given another label or moved by more than half counts 0. None without garments.
        left: number of annotations that later counts still have to compare.
    """

    shown: int
    unchanged: int
    garments: int
    mean_iou: float | None
    median_iou: float | None
    left: int


@dataclass(frozen=True)
class Survey:
    """The state of a project at one time.

    Attributes:
        at: when it was counted, ISO 8601, UTC.
        images: number of tasks in the project.
        predicted: tasks that have a prediction.
        approved: tasks with a person's approved annotation.
        auto_accepted: tasks annotated by auto-accept alone.
        waiting: tasks with a prediction that no person has annotated or skipped.
        doubtful: waiting tasks whose prediction's score is below 0.5; uncertainty sampling serves them first.
        new, needed: approved annotations that the latest model was not trained on, and how many start a training;
            auto-accepted annotations count where the settings train on them.
        instances: label → number of garments that people have approved, in the label config's order.
        work: people's approved annotations, and all by auto-accept alone, by day and origin.
        totals: the same by origin, for all days together.
    """

    at: str
    title: str
    images: int
    predicted: int
    approved: int
    auto_accepted: int
    waiting: int
    doubtful: int
    new: int
    needed: int
    instances: dict[str, int]
    work: tuple[Work, ...]
    totals: tuple[Work, ...]
    corrections: Corrections


_JSON = TypeAdapter(Survey)


class Surveys:
    """The last survey of each project. Every method raises `QueueError` while Redis does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def remember(self, project_id: int, survey: Survey) -> None:
        """Stores a project's survey in place of its previous one."""
        with redis_errors():
            self._redis.hset(KEY, str(project_id), _JSON.dump_json(survey))

    def forget(self, project_ids: Collection[int]) -> None:
        """Removes the surveys of projects that are gone."""
        if project_ids:
            with redis_errors():
                self._redis.hdel(KEY, *map(str, project_ids))

    def all(self) -> dict[int, Survey]:
        """Project id → its last survey, ordered by id; skips unreadable surveys, which the next count replaces."""
        with redis_errors():
            rows = self._redis.hgetall(KEY)
        surveys = {}
        for project_id, stored in rows.items():
            try:
                surveys[int(project_id)] = _JSON.validate_json(stored)
            except ValueError as e:
                logger.warning("The survey of project %r cannot be read: %s", project_id, e)
        return dict(sorted(surveys.items()))
