"""Whether what runs on this machine answers."""

from __future__ import annotations

import socket

import httpx
from redis.exceptions import RedisError
from rq.cron import CronScheduler

from backend.queues.queues import Queues
from backend.queues.redis_connection import workers_of
from backend.settings import Settings

PATIENCE_S = 5.0


def backend_answers(url: str) -> bool:
    """Whether a backend does at that address; nobody is asked for credentials there."""
    try:
        return httpx.get(f"{url}/live", timeout=PATIENCE_S).is_success
    except httpx.HTTPError:
        return False


def worker_is_known(settings: Settings) -> bool:
    """Whether a worker of this machine's name is registered in Redis, which forgets those that fall silent."""
    try:
        return any(one.hostname == socket.gethostname() for one in workers_of(Queues(settings).redis))
    except RedisError:
        return False


def timer_is_known(settings: Settings) -> bool:
    """Whether a timer of this machine's name is registered in Redis, likewise."""
    try:
        timers = CronScheduler.all(Queues(settings).redis, cleanup=False)
        return any(one.hostname == socket.gethostname() for one in timers)
    except RedisError:
        return False
