"""Stores the results of audits, project by project, in Redis for `GET /status`."""

from __future__ import annotations

import json
from collections.abc import Collection
from typing import Any

from redis import Redis
from rq.utils import as_text

from backend.queues.redis_connection import redis_errors

# Hash, project id → JSON of the last result.
KEY = "drape:audits"


class Audits:
    """The last audit result of each project. Every method raises `QueueError` while Redis does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    def remember(self, project_id: int, *, version: str, images: int, regions: int, wrong: int) -> None:
        """Stores the result of a version's audit: audited images, their regions, and wrong regions among these."""
        result = {"version": version, "images": images, "regions": regions, "wrong": wrong}
        with redis_errors():
            self._redis.hset(KEY, str(project_id), json.dumps(result))

    def forget(self, project_ids: Collection[int]) -> None:
        """Removes the results of projects that are gone."""
        if project_ids:
            with redis_errors():
                self._redis.hdel(KEY, *map(str, project_ids))

    def all(self) -> dict[str, dict[str, Any]]:
        """Project id → the result that `remember` stored last."""
        with redis_errors():
            rows = self._redis.hgetall(KEY)
        return {as_text(project): json.loads(result) for project, result in rows.items()}
