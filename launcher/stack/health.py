"""Whether what runs on this machine answers."""

from __future__ import annotations

import socket

import httpx
from redis.exceptions import RedisError

from backend.queues.queues import Queues
from backend.queues.redis_connection import workers_of
from backend.settings import Settings

PATIENCE_S = 5.0


def backend_answers(settings: Settings) -> bool:
    """Whether the backend at its port does, to its own credentials."""
    auth = (settings.basic_auth_user, settings.basic_auth_pass)
    try:
        return httpx.get(f"http://127.0.0.1:{settings.port}/health", auth=auth, timeout=PATIENCE_S).is_success
    except httpx.HTTPError:
        return False


def worker_is_known(settings: Settings) -> bool:
    """Whether a worker of this machine's name is registered in Redis, which forgets those that fall silent."""
    try:
        return any(one.hostname == socket.gethostname() for one in workers_of(Queues(settings).redis))
    except RedisError:
        return False
