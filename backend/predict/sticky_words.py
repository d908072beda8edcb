"""The phrase that last found something in a project, remembered for its next images."""

from __future__ import annotations

import json
import logging
from dataclasses import asdict, dataclass

from redis import Redis
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

KEY = "drape:sticky-words"


@dataclass(frozen=True)
class Phrase:
    """What the annotator wrote, and the label that was chosen with it (None where none was)."""

    words: tuple[str, ...]
    label: str | None


class StickyWords:
    """One phrase a project, in Redis. Without Redis nothing is remembered, and nothing fails."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def remember(self, project_id: int, phrase: Phrase) -> None:
        """Keeps the phrase in place of the one before."""
        try:
            self._redis.hset(KEY, str(project_id), json.dumps(asdict(phrase)))
        except RedisError as e:
            logger.warning("The words '%s' are not remembered: Redis is away (%s)", ", ".join(phrase.words), e)

    def recall(self, project_id: int) -> Phrase | None:
        """The phrase that was remembered last; None where there is none."""
        try:
            kept = self._redis.hget(KEY, str(project_id))
        except RedisError:
            return None
        if not kept:
            return None
        read = json.loads(kept)
        return Phrase(tuple(read["words"]), read["label"])
