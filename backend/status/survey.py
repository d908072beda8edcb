"""Where a project stands: what is annotated, how long that takes, how much of what is shown people change.

`training.annotations.survey` counts it, with every count of approved labels; here it is kept for whoever shows it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Literal

from pydantic import TypeAdapter
from redis import Redis

from backend.queues.redis_connection import redis_errors

logger = logging.getLogger(__name__)

# Hash, project id → JSON of its last survey; a hint that the next count gives anew.
KEY = "drape:surveys"

Origin = Literal["scratch", "prediction", "accepted"]


@dataclass(frozen=True)
class Work:
    """Annotations of one origin that were made on one day, or on all.

    Attributes:
        day: ISO 8601, UTC; None for all days together.
        origin: `scratch`: by people, on a blank image; `prediction`: by people who began with a prediction, or with
            what the service had accepted; `accepted`: by the service alone.
        images: how many images they are of.
        timed: of how many of these Label Studio knows what they took.
        median_s: the median of what those took, in seconds; None where it is known of none. Label Studio counts all the
            time that an annotation was open, and adds to it when somebody opens it again and saves: a later correction
            makes it longer, and so does a pause.
    """

    day: str | None
    origin: Origin
    images: int
    timed: int
    median_s: float | None


@dataclass(frozen=True)
class Corrections:
    """How much people change of what is shown to them.

    Attributes:
        shown: approved annotations of people's that began with a prediction, of which Label Studio has kept what it
            showed, and which were compared with it.
        unchanged: those of them that show the same as it did, pixel by pixel.
        garments: how many garments they show, or it did.
        mean_iou, median_iou: of the masks of each garment, as shown and as approved, in `[0, 1]`; a garment that was
            added, removed, given another label or moved by more than half counts 0. None where there are none.
        left: how many annotations are still to be compared, at the next counts.
    """

    shown: int
    unchanged: int
    garments: int
    mean_iou: float | None
    median_iou: float | None
    left: int


@dataclass(frozen=True)
class Survey:
    """A project at one time.

    Attributes:
        at: when it was counted, ISO 8601, UTC.
        images: tasks of the project.
        predicted: tasks that have a prediction.
        approved: tasks with an approved annotation of a person's.
        auto_accepted: tasks that the service alone has annotated.
        waiting: tasks with a prediction that nobody has annotated or skipped.
        doubtful: those of them whose prediction's score is below 0.5: Label Studio serves them first, where it serves
            by uncertainty.
        new, needed: approved annotations that the latest model has not learnt from, and how many start a training;
            those that the service accepted are among them where they are trained on.
        instances: how many garments of each label of the label config people have approved, in its order.
        work: of each origin and day, by day: what is approved of people's, and all that the service accepted alone.
        totals: the same of each origin that there is, all days together.
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
    """The last survey of each project. Every method raises `QueueError` while Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def remember(self, project_id: int, survey: Survey) -> None:
        """Keeps a project's survey in the place of its last."""
        with redis_errors():
            self._redis.hset(KEY, str(project_id), _JSON.dump_json(survey))

    def all(self) -> dict[int, Survey]:
        """Project id → its last survey, by id; what cannot be read is passed over until it is counted anew."""
        with redis_errors():
            rows = self._redis.hgetall(KEY)
        found = {}
        for project_id, kept in rows.items():
            try:
                found[int(project_id)] = _JSON.validate_json(kept)
            except ValueError as e:
                logger.warning("The survey of project %r cannot be read: %s", project_id, e)
        return dict(sorted(found.items()))
