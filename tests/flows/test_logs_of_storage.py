"""What the libraries beneath the storage log, with everything logged that Drape logs."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from backend.errors import StorageError
from backend.storage.store import Bucket
from backend.telemetry.logs import VERBOSE_LOGGERS, start_logs

SECRET, TOKEN = "leaky-key-71aa", "leaky-session-30bc"


@pytest.fixture
def logged() -> Iterator[io.StringIO]:
    """All that is logged at DEBUG; levels are afterwards what they were."""
    stream, root = io.StringIO(), logging.getLogger()
    before = {name: logging.getLogger(name).level for name in (None, *VERBOSE_LOGGERS)}
    handler = logging.StreamHandler(stream)
    root.addHandler(handler)
    start_logs("DEBUG")
    root.setLevel(logging.DEBUG)
    yield stream
    root.removeHandler(handler)
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.mark.slow
def test_a_bucket_that_is_away_tells_no_credentials(logged: io.StringIO, monkeypatch: pytest.MonkeyPatch) -> None:
    told = {
        "AWS_ACCESS_KEY_ID": "known",
        "AWS_SECRET_ACCESS_KEY": SECRET,
        "AWS_SESSION_TOKEN": TOKEN,
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
    }
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(StorageError) as raised:
        Bucket("s3://drape/here").read("models/7/champion")
    said = logged.getvalue() + str(raised.value) + repr(raised.value.__cause__)
    assert SECRET not in said and TOKEN not in said
