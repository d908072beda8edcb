"""Health checks of containers, on a real backend, a real Redis and a real worker; secrets from files."""

from __future__ import annotations

import socket
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from rq import Worker

from backend.queues.queue_metrics import QueueMetrics
from backend.queues.queues import Queues
from backend.settings import Settings
from backend.timer import timer
from launcher.doctor.redis import check_redis
from launcher.stack.health import backend_answers, is_registered
from tests.backend.conftest import files, served, settings

__all__ = ["files", "settings"]


@pytest.mark.services
def test_a_backend_answers_while_it_runs(settings: Settings) -> None:
    with served(settings) as running:
        url = str(running.client.base_url).rstrip("/")
        assert backend_answers(url)
    assert not backend_answers(url)


@pytest.mark.services
def test_a_worker_is_registered_while_it_works(settings: Settings) -> None:
    assert not is_registered("worker", settings)
    worker = Worker(["checks"], connection=Queues(settings).redis)
    worker.register_birth()
    assert worker.hostname == socket.gethostname()
    assert is_registered("worker", settings)
    worker.register_death()
    assert not is_registered("worker", settings)
    assert not is_registered("worker", settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))


@pytest.mark.services
def test_a_timer_is_registered_while_it_works(settings: Settings) -> None:
    assert not is_registered("timer", settings)
    scheduler = timer(Queues(settings).redis, every_s=60)
    scheduler.register_birth()
    assert is_registered("timer", settings)
    scheduler.register_death()
    assert not is_registered("timer", settings)
    assert not is_registered("timer", settings.model_copy(update={"redis_url": "redis://127.0.0.1:1/0"}))


@pytest.mark.services
def test_secrets_are_read_from_files(redis_address: str, tmp_path: Path) -> None:
    parts = urlsplit(redis_address)
    (tmp_path / "redis_password").write_text(f"{parts.password}\n")
    (tmp_path / "webhook_secret").write_text("hook\n")
    without = f"redis://{parts.hostname}:{parts.port}{parts.path}"
    read = Settings(redis_url=without, _secrets_dir=tmp_path)
    assert read.webhook_secret == "hook"
    assert Queues(read).redis.ping()
    # All who ask Redis for something of their own take the password from there, too.
    assert [metric.samples[0].value for metric in QueueMetrics(read).collect() if metric.name == "drape_redis_up"] == [
        1
    ]
    assert next(one for one in check_redis(read) if one.name == "Redis").state != "failed"
    assert not {"hook", str(parts.password)} & set(repr(read).replace("'", " ").split())
