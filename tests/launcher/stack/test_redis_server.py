from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis

from launcher.errors import LauncherError
from launcher.stack.redis_server import find_redis_server, redis_answers, redis_program, redis_url
from launcher.stack.supervisor import Supervisor, free_port


@pytest.mark.services
def test_it_wants_the_password_and_keeps_its_data(tmp_path: Path) -> None:
    port = free_port()
    url = redis_url(port, "secret")
    for expected in (None, b"kept"):
        supervisor = Supervisor(tmp_path / "logs")
        try:
            supervisor.start(redis_program(tmp_path / "redis", port=port, password="secret"))
            supervisor.wait_until(lambda: redis_answers(url), what="Redis", timeout_s=20)
            assert not redis_answers(redis_url(port, "wrong"))
            with Redis.from_url(url) as connection:
                assert connection.get("key") == expected
                connection.set("key", "kept")
        finally:
            supervisor.stop()
    assert (tmp_path / "redis" / "redis.conf").stat().st_mode & 0o777 == 0o600


def test_without_any_redis_it_says_how_to_install_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(LauncherError, match="apt install redis-server"):
        find_redis_server()
