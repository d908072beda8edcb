"""What events call for reaches Redis once, in order, and after an outage too."""

from __future__ import annotations

import json
import logging
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from redis import Redis
from rq import Queue

from backend.errors import OverloadedError, QueueError, SettingsError
from backend.queues import event_inbox as module
from backend.queues.event_inbox import EventWork, Inbox
from backend.queues.queues import CHECKS, TRAIN, Queues
from backend.queues.redis_connection import REDIS_TIMEOUT_S
from backend.settings import Settings
from backend.telemetry.problems import Problems
from backend.telemetry.request_ids import JOB_META, set_request_id

pytestmark = pytest.mark.services


@pytest.fixture
def queues(redis_address: str) -> Queues:
    return Queues(Settings(redis_url=redis_address), answer_within_s=REDIS_TIMEOUT_S)


@pytest.fixture
def inbox(queues: Queues) -> Iterator[Inbox]:
    made = Inbox(queues, Problems(queues.redis))
    yield made
    made.close(timeout_s=10)


@contextmanager
def hanging(redis: Redis) -> Iterator[None]:
    process = int(redis.info("server")["process_id"])
    os.kill(process, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(process, signal.SIGCONT)


def jobs(queues: Queues, name: str) -> list[tuple[str, tuple[object, ...]]]:
    return [(str(job.func_name), tuple(job.args)) for job in Queue(name, connection=queues.redis).jobs]


def test_each_kind_is_queued_in_the_name_of_its_request(inbox: Inbox, queues: Queues) -> None:
    set_request_id("of-this-request")
    for hint in (EventWork("check", 7), EventWork("prelabel", 7, (3, 4)), EventWork("train", 7)):
        inbox.put(hint)
    set_request_id("")
    assert inbox.wait_until_empty(timeout_s=10)
    assert jobs(queues, CHECKS) == [
        ("training.jobs.check_approvals", (7,)),
        ("backend.prelabel.jobs.share_out", (7, [3, 4])),
    ]
    assert jobs(queues, TRAIN) == [("training.jobs.train", (7, "Start training"))]
    metas = [job.get_meta() for name in (CHECKS, TRAIN) for job in Queue(name, connection=queues.redis).jobs]
    assert [one[JOB_META] for one in metas] == ["of-this-request"] * 3


def test_an_outage_delays_and_loses_nothing(inbox: Inbox, queues: Queues, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING)
    with hanging(queues.redis):
        for _ in range(50):
            for project_id in (1, 2, 3):
                inbox.put(EventWork("check", project_id))
        ends_at = time.monotonic() + 60
        while not any("is queued once it does" in one.getMessage() for one in caplog.records):
            assert time.monotonic() < ends_at
            time.sleep(0.05)
        assert not inbox.wait_until_empty(timeout_s=0)
    assert inbox.wait_until_empty(timeout_s=60)
    assert sorted(args for _, args in jobs(queues, CHECKS)) == [(1,), (2,), (3,)]
    # Said once, however often it was tried.
    assert sum("is queued once it does" in one.getMessage() for one in caplog.records) == 1


def test_one_that_comes_while_its_like_is_queued_is_not_taken_for_it(inbox: Inbox, queues: Queues) -> None:
    """The count that it calls for may have begun before the change that it tells of."""
    begun, go_on, seen = threading.Event(), threading.Event(), []

    class Slow(Queues):
        def enqueue_check(self, project_id: int) -> bool:
            seen.append(project_id)
            begun.set()
            return go_on.wait(10)

    slow = Inbox(Slow(Settings(redis_url="redis://127.0.0.1:1")), Problems(queues.redis))
    slow.put(EventWork("check", 1))
    assert begun.wait(10)
    slow.put(EventWork("check", 1))
    slow.put(EventWork("check", 1))
    go_on.set()
    assert slow.wait_until_empty(timeout_s=10)
    assert seen == [1, 1]
    slow.close(timeout_s=1)


def test_what_can_never_be_done_is_said_and_holds_nothing_up(
    inbox: Inbox, queues: Queues, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> bool:
        raise SettingsError("PROJECT_SETTINGS is wrong.")

    monkeypatch.setattr(queues, "enqueue_training", refuses)
    inbox.put(EventWork("train", 1))
    inbox.put(EventWork("check", 1))
    assert inbox.wait_until_empty(timeout_s=10)
    assert jobs(queues, CHECKS) == [("training.jobs.check_approvals", (1,))]
    assert "PROJECT_SETTINGS is wrong." in Problems(queues.redis).recent(1)[0].text


def test_an_unforeseen_error_takes_its_own_event_alone(inbox: Inbox, queues: Queues) -> None:
    for hint in (EventWork("nonsense", 1), EventWork("check", 1), EventWork("check", 2)):
        inbox.put(hint)
    assert inbox.wait_until_empty(timeout_s=10)
    assert sorted(args for _, args in jobs(queues, CHECKS)) == [(1,), (2,)]
    assert "nonsense" in Problems(queues.redis).recent(1)[0].text


def test_memory_is_bounded(queues: Queues, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 3)
    away = Queues(Settings(redis_url="redis://127.0.0.1:1"), answer_within_s=REDIS_TIMEOUT_S)
    with pytest.raises(QueueError):
        EventWork("check", 1).queue(away)
    full = Inbox(away, Problems(away.redis))
    with pytest.raises(OverloadedError):
        for project_id in range(10):
            full.put(EventWork("check", project_id))
    full.close(timeout_s=0.1)


def test_what_is_left_at_a_shutdown_is_queued_at_the_next_start(queues: Queues, tmp_path: Path) -> None:
    """Nobody else knows that somebody pressed Start training."""
    away, kept = Queues(Settings(redis_url="redis://127.0.0.1:1"), answer_within_s=REDIS_TIMEOUT_S), tmp_path / "kept"
    stopped = Inbox(away, Problems(away.redis), leftovers=kept)
    for hint in (EventWork("train", 7), EventWork("prelabel", 7, (3, 4)), EventWork("train", 7)):
        stopped.put(hint)
    stopped.close(timeout_s=0.5)
    started = Inbox(queues, Problems(queues.redis), leftovers=kept)
    started.close(timeout_s=10)
    assert jobs(queues, TRAIN) == [("training.jobs.train", (7, "Start training"))]
    assert jobs(queues, CHECKS) == [("backend.prelabel.jobs.share_out", (7, [3, 4]))]
    assert not kept.exists()
    # Nor does a full one.
    kept.write_text(json.dumps([("check", number, []) for number in range(module.MOST + 1)]))
    Inbox(away, Problems(away.redis), leftovers=kept).close(timeout_s=0.1)
    assert len(json.loads(kept.read_text())) == module.MOST + 1
    # A damaged file holds up no start.
    kept.write_text("[[1")
    Inbox(queues, Problems(queues.redis), leftovers=kept).close(timeout_s=1)
    assert "cannot be read" in Problems(queues.redis).recent(1)[0].text
