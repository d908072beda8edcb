"""Checks whether the backend answers, and whether Redis lists this machine's worker and timer."""

from __future__ import annotations

import socket

import httpx
from redis.exceptions import RedisError
from rq.cron import CronScheduler

from backend.queues.queues import Queues
from backend.queues.redis_connection import workers_of
from backend.settings import Settings

TIMEOUT_S = 5.0


def backend_answers(url: str) -> bool:
    """Whether a backend answers at that address; `/live` needs no credentials."""
    try:
        return httpx.get(f"{url}/live", timeout=TIMEOUT_S).is_success
    except httpx.HTTPError:
        return False


def worker_is_registered(settings: Settings) -> bool:
    """Whether Redis lists a worker of this host; Redis drops a worker's record when its heartbeats stop."""
    try:
        return any(worker.hostname == socket.gethostname() for worker in workers_of(Queues(settings).redis))
    except RedisError:
        return False


def timer_is_registered(settings: Settings) -> bool:
    """Whether Redis lists a timer of this host; Redis drops a timer's record when its heartbeats stop."""
    try:
        timers = CronScheduler.all(Queues(settings).redis, cleanup=False)
        return any(timer.hostname == socket.gethostname() for timer in timers)
    except RedisError:
        return False
