from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from redis import Redis

from backend.prelabel import task_marks
from backend.prelabel.task_marks import TaskMarks

pytestmark = pytest.mark.services


def test_a_mark_ends_though_others_are_set_all_the_while(redis_address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What Label Studio did not store of an answer would else wait as long as others are answered."""
    now = [time.time()]
    monkeypatch.setattr(task_marks, "time", SimpleNamespace(time=lambda: now[0]))
    with Redis.from_url(redis_address) as redis:
        marks = TaskMarks(redis)
        marks.answered(1, "v", [5, 6])
        assert marks.recently_answered(1, "v", [5, 6, 7]) == {5, 6}
        for _ in range(3):
            now[0] += task_marks.ANSWERED_S / 4
            marks.answered(1, "v", [6])
            assert marks.recently_answered(1, "v", [5])
        now[0] += task_marks.ANSWERED_S / 3
        assert not marks.recently_answered(1, "v", [5])
        marks.answered(1, "v", [6])
        assert marks.recently_answered(1, "v", [5, 6]) == {6}
        assert redis.zcard("drape:answered:1:v") == 1
