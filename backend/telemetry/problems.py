"""The latest problems in plain sentences: logged, and stored in Redis for `GET /status` of any process."""

from __future__ import annotations

import json
import logging
from collections import deque
from dataclasses import asdict, dataclass
from datetime import datetime, timezone

from redis import Redis
from redis.exceptions import RedisError

logger = logging.getLogger(__name__)

KEY = "drape:problems"
# Counts all problems that were ever reported; the list holds the latest only.
COUNT_KEY = "drape:problems-reported"
MAX_STORED = 100
# A problem is a sentence, but an address or a label that it quotes may have any length.
MAX_CHARACTERS = 1000


@dataclass(frozen=True)
class Problem:
    """One thing that went wrong; `at` is ISO 8601, UTC."""

    at: str
    text: str
    project_id: int | None = None
    task_id: int | None = None


class Problems:
    """The last hundred problems of all processes, or of this process alone while Redis is unreachable."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._recent: deque[Problem] = deque(maxlen=MAX_STORED)

    def report(self, text: str, *, project_id: int | None = None, task_id: int | None = None) -> None:
        """Logs a problem and stores it."""
        # Text from JSON may hold half of a surrogate pair, which no answer can encode.
        text = text[:MAX_CHARACTERS].encode("utf-8", "replace").decode()
        where = f"project {project_id}, task {task_id}" if task_id else f"project {project_id}"
        logger.warning("%s (%s)", text, where)
        problem = Problem(datetime.now(timezone.utc).isoformat(timespec="seconds"), text, project_id, task_id)
        self._recent.append(problem)
        try:
            self._redis.lpush(KEY, json.dumps(asdict(problem)))
            self._redis.ltrim(KEY, 0, MAX_STORED - 1)
            self._redis.incr(COUNT_KEY)
        except RedisError:
            logger.debug("Redis does not answer: the problem is stored in this process only")

    def recent(self, count: int) -> list[Problem]:
        """The last `count` problems, newest first."""
        try:
            rows = self._redis.lrange(KEY, 0, count - 1)
        except RedisError:
            return list(self._recent)[::-1][:count]
        return [Problem(**json.loads(row)) for row in rows]
