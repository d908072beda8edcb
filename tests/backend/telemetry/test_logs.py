"""What a record looks like, in both formats."""

from __future__ import annotations

import io
import json
import logging
import sys
from typing import Any

import pytest

from backend.telemetry.logs import LogFormat, make_log_handler
from backend.telemetry.request_ids import job_context


def written(log_format: LogFormat, message: str, *args: Any, fails: bool = False) -> str:
    """What the handler writes of one record, made within a job of a request."""
    handler, stream = make_log_handler(log_format), io.StringIO()
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    failure = None
    if fails:
        try:
            raise ValueError("first\nsecond")
        except ValueError:
            failure = sys.exc_info()
    record = logging.LogRecord("backend.x", logging.WARNING, __file__, 1, message, args, failure)
    with job_context("prelabel-3-abc", {"request_id": "r1"}):
        handler.handle(record)
    return stream.getvalue()


def test_json_is_one_object_a_line() -> None:
    said = written("json", "%s\nof %s", "a saree", "द्रापे", fails=True)
    assert said.count("\n") == 1
    facts = json.loads(said)
    assert facts.pop("time").endswith("+00:00")
    assert "ValueError: first\nsecond" in facts.pop("exception")
    assert facts == {
        "level": "WARNING",
        "logger": "backend.x",
        "message": "a saree\nof द्रापे",
        "request_id": "r1",
        "job_id": "prelabel-3-abc",
    }


def test_text_is_for_people() -> None:
    said = written("text", "A %s", "saree")
    assert said.endswith("WARNING backend.x: A saree [request r1, job prelabel-3-abc]\n")
    # What somebody sent looks like no record of its own; a traceback follows as it is.
    assert "A \\n2026 INFO forged\\r [request" in written("text", "A %s", "\n2026 INFO forged\r")
    assert "\nTraceback (most recent call last):\n" in written("text", "A", fails=True)


# Clears the screen, sets the title, rings, deletes, begins a sequence in one byte, ends lines, turns around.
HOSTILE = "\x1b[2J\x1b]0;mine\x07\x08\x7f\x9b31m\x85\u2028\u2029\u202egnp.asaree\x00"


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_a_terminal_obeys_nothing_that_was_sent(log_format: LogFormat) -> None:
    try:
        raise ValueError(HOSTILE)
    except ValueError:
        said = written(log_format, "No label '%s'", HOSTILE, fails=True) + written(log_format, HOSTILE)
    assert [one for one in said if not one.isprintable() and one != "\n"] == []
    assert len(written(log_format, HOSTILE).splitlines()) == 1
    if log_format == "json":
        assert json.loads(written("json", HOSTILE))["message"] == HOSTILE


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_without_request_and_job_nothing_is_said_of_them(log_format: LogFormat) -> None:
    handler, stream = make_log_handler(log_format), io.StringIO()
    assert isinstance(handler, logging.StreamHandler)
    handler.setStream(stream)
    handler.handle(logging.LogRecord("backend.x", logging.INFO, __file__, 1, "A", (), None))
    assert "[" not in stream.getvalue() and "request" not in stream.getvalue() and "job" not in stream.getvalue()
