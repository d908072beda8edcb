"""What audits of accepted regions found, project by project: kept in Redis for `GET /status`."""

from __future__ import annotations

import json
from typing import Any

from redis import Redis
from rq.utils import as_text

from backend.queues.redis_connection import redis_errors

# Hash, project id → JSON of what audits found; a hint for `/status`.
KEY = "drape:audits"


class Audits:
    """The last audit of each project. Every method raises `QueueError` while Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def remember(self, project_id: int, *, version: str, images: int, regions: int, wrong: int) -> None:
        """Keeps what audits of a version found."""
        found = {"version": version, "images": images, "regions": regions, "wrong": wrong}
        with redis_errors():
            self._redis.hset(KEY, str(project_id), json.dumps(found))

    def all(self) -> dict[str, dict[str, Any]]:
        """Project id → what `remember` kept last."""
        with redis_errors():
            rows = self._redis.hgetall(KEY)
        return {as_text(project): json.loads(found) for project, found in rows.items()}
