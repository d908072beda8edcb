"""Counts in Redis how many images all workers predict per minute. The counts may be lost without harm."""

from __future__ import annotations

import logging
import time

from redis import Redis
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

MINUTE_S = 60
RATE_MINUTES = 5


class Pace:
    """Counts of predicted images, minute by minute. While Redis does not answer, nothing is counted."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def predicted(self, images: int) -> None:
        """Adds images that were predicted just now."""
        key = _minute_key(time.time())
        try:
            with self._redis.pipeline() as pipeline:
                pipeline.incrby(key, images)
                pipeline.expire(key, MINUTE_S * (RATE_MINUTES + 2))
                pipeline.execute()
        except RedisError:
            logger.debug("Redis does not answer: %s images are not counted", images)

    def images_a_minute(self) -> float:
        """Mean images per minute, over those of the last five whole minutes in which images were predicted.

        Raises:
            RedisError: Redis does not answer.
        """
        now = time.time()
        counts = self._redis.mget([_minute_key(now - ago * MINUTE_S) for ago in range(1, RATE_MINUTES + 1)])
        busy = [int(count) for count in counts if count]
        return sum(busy) / len(busy) if busy else 0.0


def _minute_key(moment: float) -> str:
    return f"drape:predicted:{int(moment // MINUTE_S)}"
