"""The commands of one project that queue work, on a Redis of their own."""

from __future__ import annotations

import pytest
import typer
from rq import Queue
from rq.utils import now

from backend.queues.queues import PRELABEL, Queues
from backend.settings import Settings
from launcher.commands.project import _queue_tasks, _show_failures

PROJECT = 7


@pytest.mark.services
def test_without_waiting_the_tasks_are_queued_and_with_waiting_their_progress_comes_back(
    redis_address: str, capsys: pytest.CaptureFixture[str]
) -> None:
    queues = Queues(Settings(redis_url=redis_address))
    backlog = queues.encoding(PROJECT)
    assert _queue_tasks(backlog, [1, 2, 3], wait=False, title="Encoding") is None
    assert "3 images are queued." in capsys.readouterr().out
    assert backlog.progress(since=now()).left == 3
    backlog.drop()
    Queue(PRELABEL, connection=queues.redis).empty()
    progress = _queue_tasks(backlog, [], wait=True, title="Encoding")
    assert progress is not None and progress.ended and progress.left == 0
    assert "Encoding" in capsys.readouterr().out


def test_each_reason_of_failed_jobs_is_shown_once(capsys: pytest.CaptureFixture[str]) -> None:
    _show_failures([])
    with pytest.raises(typer.Exit) as exit_info:
        _show_failures(["No space left.", "No space left.", "Label Studio does not answer."])
    said = capsys.readouterr().out
    assert exit_info.value.exit_code == 1
    assert said.splitlines() == ["A job failed: No space left.", "A job failed: Label Studio does not answer."]
