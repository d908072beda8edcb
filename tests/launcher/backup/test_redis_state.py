"""What is kept of a real Redis, with a worker that is in the middle of a job."""

from __future__ import annotations

from pathlib import Path

import pytest
from redis import Redis
from rq import Queue, SimpleWorker
from rq.job import Job, JobStatus
from rq.results import Result

from backend.predict.sticky_words import KEY as STICKY_WORDS
from backend.queues.backlog import waiting_tasks
from backend.queues.queues import CHECKS, QUEUES, TRAIN, Queues
from backend.settings import Settings
from backend.status.audits import Audits
from backend.telemetry.problems import Problems
from launcher.backup.redis_state import has_data, read_state, write_state

pytestmark = pytest.mark.services


def note(path: str, word: str) -> None:
    """A job that says that it was done, and keeps Redis as it is in its midst the first time."""
    with Path(path).open("a") as file:
        file.write(word)
    midst = Path(f"{path}.{word}.midst")
    if midst.exists() and not midst.stat().st_size:
        connection = Redis.from_url(midst.with_suffix(".address").read_text())
        midst.write_text("\n".join(read_state(connection)))
        connection.close()


def test_jobs_are_done_once_after_it(redis_address: str, tmp_path: Path) -> None:
    queues, done = Queues(Settings(redis_url=redis_address)), tmp_path / "done"
    redis = queues.redis
    assert not has_data(redis)
    checks = Queue(CHECKS, connection=redis)
    for word in "abc":
        checks.enqueue(note, str(done), word, job_id=f"job-{word}", meta={"of": word})
    (tmp_path / "done.b.midst").touch()
    (tmp_path / "done.b.address").write_text(redis_address)
    queues.enqueue_training(7, reason="asked")
    Audits(queues.redis).remember(7, version="v1", images=3, regions=9, wrong=1)
    Problems(redis).report("It is broken.", project_id=7)
    redis.hset(STICKY_WORDS, "7", b"\xff\x00 not text")
    queues.enqueue_check(7)
    SimpleWorker([CHECKS], connection=redis).work(burst=True, max_jobs=2)
    assert done.read_text() == "ab"
    lines = (tmp_path / "done.b.midst").read_text().splitlines()

    # As it was while 'b' ran: that and what waited then, whatever has happened since.
    checks.enqueue(note, str(done), "later")
    assert write_state(redis, lines) == 4
    assert checks.job_ids[:2] == ["job-b", "job-c"] and len(checks.job_ids) == 3
    again = Job.fetch("job-b", connection=redis)
    assert again.get_status() == JobStatus.QUEUED and again.get_meta() == {"of": "b"}
    assert again.started_at is None and again.worker_name is None
    assert not checks.started_job_registry.get_job_ids(cleanup=False)
    assert queues.has_training(7) and not queues.enqueue_training(7, reason="asked again")
    assert Audits(queues.redis).all() == {"7": {"version": "v1", "images": 3, "regions": 9, "wrong": 1}}
    assert Problems(redis).recent(1)[0].text == "It is broken."
    assert redis.hgetall(STICKY_WORDS) == {b"7": b"\xff\x00 not text"}
    # A hint that came before is no reason to swallow the next.
    assert queues.enqueue_check(7)
    done.write_text("")
    # Not the rest: the count is of a project that does not exist.
    SimpleWorker([CHECKS], connection=redis).work(burst=True, max_jobs=2)
    assert done.read_text() == "bc"
    redis.close()


def test_what_is_written_is_what_was_read(redis_address: str) -> None:
    queues = Queues(Settings(redis_url=redis_address))
    for project in range(3):
        queues.enqueue_training(project, reason="asked")
        queues.encoding(project).add(range(100))
    before = sorted(read_state(queues.redis))
    assert has_data(queues.redis) and len(before) == 13
    assert write_state(queues.redis, before) == 6
    assert {job for name in QUEUES for job in Queue(name, connection=queues.redis).job_ids} >= {
        f"{TRAIN}-{project}" for project in range(3)
    }
    assert waiting_tasks(queues.redis, "embed") == {str(project): 99 for project in range(3)}
    queues.redis.close()


def test_a_restored_training_runs_though_a_later_one_has_succeeded(redis_address: str) -> None:
    """Both have the project's one id; the results of the later one belong to what the restore replaces."""
    queues = Queues(Settings(redis_url=redis_address))
    queues.enqueue_training(7, reason="asked")
    before = list(read_state(queues.redis))
    job = Job.fetch("train-7", connection=queues.redis)
    for record_is_there in (True, False):
        Result.create(job, Result.Type.SUCCESSFUL, 3600, return_value={})
        if not record_is_there:
            queues.redis.delete(job.key)
        assert write_state(queues.redis, before) == 1
        assert job.latest_result() is None
    queues.redis.close()


def test_jobs_of_a_worker_that_died_are_replaced(redis_address: str) -> None:
    queues = Queues(Settings(redis_url=redis_address))
    queues.enqueue_training(7, reason="asked")
    # RQ lists a run for longer than it keeps its record.
    queues.redis.zadd("rq:executions:train-7", {"gone": 2**31})
    assert write_state(queues.redis, []) == 0
    assert not has_data(queues.redis)
    queues.redis.close()
