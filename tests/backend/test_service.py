from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import redis
from rq import Queue

from backend.queues.queues import CHECKS, TRAIN
from backend.settings import Settings
from launcher.stack.redis_server import redis_answers, redis_program, redis_url
from launcher.stack.supervisor import Supervisor, free_port
from tests.backend.conftest import SECRET, served
from tests.conftest import ROOT
from tests.support import recorded

# OpenCV works in several threads at once while Ultralytics is loaded.
BOTH = """
import threading, time
import cv2, numpy as np
from backend.service import Service
from backend.settings import Settings
Service.build(Settings())
pixels = np.random.default_rng(0).random((500, 500, 3)).astype(np.float32)
over = threading.Event()
def work():
    while not over.is_set():
        cv2.GaussianBlur(pixels, (0, 0), 3.0)
threads = [threading.Thread(target=work) for _ in range(4)]
for thread in threads:
    thread.start()
before = cv2.getNumThreads()
from backend.compute.quiet_ultralytics import quiet_ultralytics
quiet_ultralytics()
time.sleep(0.2)
over.set()
for thread in threads:
    thread.join()
print(before, cv2.getNumThreads())
"""


@pytest.mark.slow
def test_opencv_has_no_threads_that_ultralytics_could_take_away(tmp_path: Path) -> None:
    environment = {**os.environ, "DATA_DIR": str(tmp_path), "YOLO_CONFIG_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", BOTH],
        cwd=ROOT,
        env=environment,
        text=True,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split()[-2:] == ["1", "1"]


@pytest.mark.services
def test_a_redis_that_hangs_is_said_and_holds_nothing(settings: Settings, tmp_path: Path) -> None:
    supervisor, port = Supervisor(tmp_path / "logs"), free_port()
    address = redis_url(port, "test")
    supervisor.start(redis_program(tmp_path / "redis", port=port, password="test"))
    try:
        supervisor.wait_until(lambda: redis_answers(address), what="Redis", timeout_s=30)
        with redis.Redis.from_url(address) as connection:
            process = int(connection.info("server")["process_id"])
        with served(settings.model_copy(update={"redis_url": address})) as running:
            base, headers = running.client.base_url, {"X-Drape-Secret": SECRET}

            def tell(name: str) -> float:
                began = time.monotonic()
                answer = httpx.post(f"{base}/webhook", json=recorded(name), headers=headers, timeout=30)
                assert answer.status_code == 201
                return time.monotonic() - began

            inbox = running.service.inbox
            tell("webhook_START_TRAINING")
            assert inbox.wait_until_empty(timeout_s=10)
            os.kill(process, signal.SIGSTOP)
            try:
                # Label Studio waits a second, and whoever submits waits with it. The machine may hold one up; who
                # waits for Redis does so each time, and for longer.
                assert min(tell("webhook_ANNOTATION_CREATED") for _ in range(3)) < 1
                assert not inbox.wait_until_empty(timeout_s=3)
                assert running.client.get("/health").status_code == 200
            finally:
                os.kill(process, signal.SIGCONT)
            assert inbox.wait_until_empty(timeout_s=60)
            queues = running.service.connections.queues
            assert [len(Queue(name, connection=queues.redis)) for name in (TRAIN, CHECKS)] == [1, 1]
    finally:
        supervisor.stop()
