"""What is wrong with Redis, its workers and the timer is named with its remedy."""

from __future__ import annotations

import pytest

from launcher.doctor.redis import check_redis
from tests.launcher.doctor.conftest import Flywheel, assert_each_fault_is_found


def redis_that_drops_keys(flywheel: Flywheel) -> None:
    flywheel.redis.config_set("maxmemory", 1_000_000_000)
    flywheel.redis.config_set("maxmemory-policy", "allkeys-lru")


def redis_that_keeps_nothing(flywheel: Flywheel) -> None:
    flywheel.redis.config_set("appendonly", "no")


def nobody_works(flywheel: Flywheel) -> None:
    flywheel.redis.flushall()


@pytest.mark.services
def test_what_is_wrong_with_redis_is_named_with_its_remedy(flywheel: Flywheel) -> None:
    before = flywheel.redis.config_get("*")
    try:
        assert_each_fault_is_found(
            [
                (redis_that_drops_keys, "Redis' memory", "failed", "allkeys-lru", "noeviction"),
                (redis_that_keeps_nothing, "Redis' persistence", "warning", "may lose", "appendonly yes"),
                (nobody_works, "workers: prelabel", "failed", "No worker", "drape worker --queue prelabel"),
                (nobody_works, "timer", "warning", "No timer", "drape timer"),
            ],
            flywheel,
            lambda: check_redis(flywheel.settings),
        )
    finally:
        for name in ("maxmemory", "maxmemory-policy", "appendonly"):
            flywheel.redis.config_set(name, str(before[name]))
