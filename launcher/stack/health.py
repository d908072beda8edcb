"""Asks whether the backend answers and what it downloads, and whether Redis lists this machine's worker and timer."""

from __future__ import annotations

import socket
from typing import Literal

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


def download_note(settings: Settings) -> str:
    """What this machine's backend says about a download of weights; '' where there is none, or no answer."""
    try:
        answer = httpx.get(
            f"http://127.0.0.1:{settings.port}/health",
            auth=(settings.basic_auth_user, settings.basic_auth_pass),
            timeout=TIMEOUT_S,
        )
        return str(answer.raise_for_status().json()["download"])
    except (httpx.HTTPError, ValueError, KeyError):
        return ""


def is_registered(what: Literal["worker", "timer"], settings: Settings) -> bool:
    """Whether Redis lists a worker or a timer of this host; Redis drops such a record when its heartbeats stop."""
    redis = Queues(settings).redis
    try:
        records = workers_of(redis) if what == "worker" else CronScheduler.all(redis, cleanup=False)
        return any(record.hostname == socket.gethostname() for record in records)
    except RedisError:
        return False
