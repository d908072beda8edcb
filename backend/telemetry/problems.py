"""The latest problems in plain sentences: logged, and stored in Redis for `GET /status` of any process."""

from __future__ import annotations

import json
import logging
import threading
import time
from collections import deque
from contextlib import suppress
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
RETRY_WAIT_S = 10.0


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
        self._unsent: deque[Problem] = deque(maxlen=MAX_STORED)
        self._sending = threading.Lock()
        self._tried_again_at = 0.0

    def report(self, text: str, *, project_id: int | None = None, task_id: int | None = None) -> None:
        """Logs a problem and stores it."""
        # Text from JSON may hold half of a surrogate pair, which no answer can encode.
        text = text[:MAX_CHARACTERS].encode("utf-8", "replace").decode()
        where = f"project {project_id}, task {task_id}" if task_id else f"project {project_id}"
        logger.warning("%s (%s)", text, where)
        problem = Problem(datetime.now(timezone.utc).isoformat(timespec="seconds"), text, project_id, task_id)
        self._recent.append(problem)
        self._unsent.append(problem)
        self._send()

    def recent(self, count: int) -> list[Problem]:
        """The last `count` problems, newest first."""
        self._send()
        if not self._unsent:
            with suppress(RedisError):
                return [Problem(**json.loads(row)) for row in self._redis.lrange(KEY, 0, count - 1)]
        return list(self._recent)[::-1][:count]

    def _send(self) -> None:
        """Stores in Redis what is not stored yet; after a failure, not before `RETRY_WAIT_S` are over.

        Otherwise each of many unreadable images would wait for a Redis that hangs, and no answer would be in time.
        """
        # One thread sends; the others wait, and then find nothing to send, or that Redis does not answer.
        with self._sending:
            problems = list(self._unsent)
            if not problems or time.monotonic() < self._tried_again_at:
                return
            try:
                with self._redis.pipeline() as pipeline:
                    pipeline.lpush(KEY, *(json.dumps(asdict(problem)) for problem in problems))
                    pipeline.ltrim(KEY, 0, MAX_STORED - 1)
                    pipeline.incrby(COUNT_KEY, len(problems))
                    pipeline.execute()
            except RedisError:
                logger.debug("Redis does not answer: the problems are in this process only, for now")
                self._tried_again_at = time.monotonic() + RETRY_WAIT_S
                return
            for problem in problems:
                # A hundred newer problems may have pushed it out meanwhile.
                with suppress(ValueError):
                    self._unsent.remove(problem)
