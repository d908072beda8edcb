"""Projects that Label Studio no longer has, though Drape still stores their models: the timer looks for them."""

from __future__ import annotations

from collections.abc import Collection

from redis import Redis

from backend.queues.redis_connection import redis_errors

# Set of project ids.
KEY = "drape:gone-projects"


class GoneProjects:
    """The projects that were gone at the last look. Every method raises `QueueError` while Redis does not answer."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    @redis_errors()
    def remember(self, project_ids: Collection[int]) -> None:
        """Stores which projects are gone, in place of those of the last look."""
        with self._redis.pipeline() as pipeline:
            pipeline.delete(KEY)
            if project_ids:
                pipeline.sadd(KEY, *project_ids)
            pipeline.execute()

    @redis_errors()
    def all(self) -> set[int]:
        """Ids of the projects that were gone at the last look."""
        return {int(project_id) for project_id in self._redis.smembers(KEY)}
