"""Surveys on a real Redis."""

from __future__ import annotations

import dataclasses
import logging

import pytest
from redis import Redis

from backend.errors import QueueError
from backend.status.survey import KEY, Corrections, Survey, Surveys, Work
from tests.backend.conftest import Served

pytestmark = pytest.mark.services

SURVEY = Survey(
    at="2026-11-20T10:00:00+00:00",
    title="Wardrobe",
    images=10,
    predicted=9,
    approved=2,
    auto_accepted=1,
    waiting=6,
    doubtful=2,
    new=1,
    needed=50,
    instances={"saree": 2, "kurta": 0},
    work=(Work("2026-11-20", "scratch", 2, 1, 30.5), Work("2026-11-20", "accepted", 1, 0, None)),
    totals=(Work(None, "accepted", 1, 0, None), Work(None, "scratch", 2, 1, 30.5)),
    corrections=Corrections(0, 0, 0, None, None, 0),
)


def test_a_survey_comes_back_as_it_was(redis_address: str) -> None:
    surveys, later = Surveys(Redis.from_url(redis_address)), dataclasses.replace(SURVEY, approved=3)
    assert surveys.all() == {}
    surveys.remember(12, SURVEY)
    surveys.remember(3, SURVEY)
    surveys.remember(12, later)
    assert list(surveys.all().items()) == [(3, SURVEY), (12, later)]


# What may stand there, by another release or by accident.
DAMAGED = ["", "{", "[]", "null", '{"at": "2026-11-20"}', b"\xff\xfe"]


@pytest.mark.parametrize("value", DAMAGED)
def test_what_is_damaged_is_passed_over_and_logged(
    redis_address: str, value: str | bytes, caplog: pytest.LogCaptureFixture
) -> None:
    redis = Redis.from_url(redis_address)
    surveys = Surveys(redis)
    surveys.remember(3, SURVEY)
    redis.hset(KEY, "4", value)
    redis.hset(KEY, "all of them", value)
    with caplog.at_level(logging.WARNING):
        assert surveys.all() == {3: SURVEY}
    assert len(caplog.records) == 2


def test_without_redis_it_is_said() -> None:
    surveys = Surveys(Redis.from_url("redis://127.0.0.1:1/0"))
    for ask in (surveys.all, lambda: surveys.remember(3, SURVEY)):
        with pytest.raises(QueueError, match="Redis does not answer"):
            ask()


def test_the_status_tells_it(backend: Served) -> None:
    backend.service.project_status.surveys.remember(3, SURVEY)
    told = backend.client.get("/status").json()["queues"]["surveys"]["3"]
    assert (told["new"], told["needed"], told["instances"]) == (1, 50, {"saree": 2, "kurta": 0})
