"""Stores the phrase that last found something in a project, for the project's next images."""

from __future__ import annotations

import logging
from dataclasses import dataclass

from pydantic import TypeAdapter
from redis import Redis
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

KEY = "drape:sticky-words"


@dataclass(frozen=True)
class Phrase:
    """The annotator's words, and the label chosen with them (None where no label was chosen)."""

    words: tuple[str, ...]
    label: str | None


_JSON = TypeAdapter(Phrase)


class StickyWords:
    """One phrase per project, in Redis. While Redis does not answer, no phrase is stored or read, and no call fails."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def remember(self, project_id: int, phrase: Phrase) -> None:
        """Stores the phrase in place of the project's previous phrase."""
        try:
            self._redis.hset(KEY, str(project_id), _JSON.dump_json(phrase))
        except RedisError as e:
            logger.warning("The words '%s' are not stored: Redis does not answer (%s)", ", ".join(phrase.words), e)

    def recall(self, project_id: int) -> Phrase | None:
        """The project's stored phrase; None where there is none."""
        try:
            stored = self._redis.hget(KEY, str(project_id))
        except RedisError:
            return None
        return _JSON.validate_json(stored) if stored else None
