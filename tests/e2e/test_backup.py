"""A flywheel that runs is backed up, lost, and restored where nothing is left: it goes on."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from redis import Redis
from rq import Queue
from rq.suspension import suspend
from rq.utils import now
from rq.worker import WorkerStatus

from backend.queues.queues import QUEUES, Queues
from backend.queues.redis_connection import workers_of
from backend.registry.registry import Registry, check_weights
from backend.settings import Settings
from label_studio_config.demo.write import write_images
from launcher.stack.secret_files import Secrets
from tests.conftest import STUDIO_VENV, Studio
from tests.e2e.conftest import Flywheel, all_tasks, figure_of, run_drape, running_flywheel, upload
from tests.training.conftest import regions_of

FIGURES = 4


@pytest.fixture
def running(tmp_path: Path, label_studio: Studio) -> Iterator[Flywheel]:
    data = tmp_path / "var"
    password = Secrets(data / "secrets").make("label-studio-password")
    label_studio.copy_into(data / "label-studio", password=password)
    with running_flywheel(
        data, figures=FIGURES, RETRAIN_AFTER="3", RETRAIN_MIN_IMAGES="1", TRAIN_EPOCHS="1"
    ) as flywheel:
        yield flywheel


def drape(flywheel: Flywheel, *arguments: str | Path) -> str:
    """What a command prints that works on the flywheel's data."""
    own = ("--data-dir", flywheel.data, "--studio-venv", STUDIO_VENV)
    return run_drape(*arguments, *own, environment=flywheel.environment)


def is_predicted(flywheel: Flywheel, project_id: int) -> bool:
    """Whether each task that waits has exactly one prediction of the current model."""
    champion = Registry(flywheel.data / "models").champion(project_id)
    waiting = [task for task in all_tasks(flywheel, project_id) if not task["annotations"]]
    counts = [
        [one["model_version"] for one in task["predictions"]].count(champion and champion.name) for task in waiting
    ]
    assert set(counts) <= {0, 1}
    return set(counts) == {1}


def approve(flywheel: Flywheel, tasks: list[dict[str, Any]]) -> None:
    for task in tasks:
        figure = figure_of(task)
        assert figure is not None
        flywheel.sdk.annotations.create(task["id"], result=regions_of(figure.seed))


@pytest.mark.services
@pytest.mark.timeout(900)
def test_a_restored_flywheel_goes_on_where_it_was(running: Flywheel, tmp_path: Path) -> None:
    project_id = next(project.id for project in running.sdk.projects.list())
    running.wait(lambda: is_predicted(running, project_id), what="pre-annotation", timeout_s=240)
    figures = [task for task in all_tasks(running, project_id) if figure_of(task)]
    approve(running, figures[:1])
    champion = Registry(running.data / "models").champion(project_id)
    assert champion is not None

    # From here on jobs wait: an upload is to be predicted, and one image again, as somebody asks.
    redis = Redis.from_url(running.facts["redis_url"])
    suspend(redis)
    # A worker that waits for a job notices it only after the next one.
    for name in QUEUES:
        Queue(name, connection=redis).enqueue("os.getpid")
    running.wait(
        lambda: {worker.get_state() for worker in workers_of(redis)} == {WorkerStatus.SUSPENDED},
        what="the workers' pause",
        timeout_s=60,
    )
    write_images(tmp_path / "more", [900])
    upload(running.facts["label_studio_url"], running.bearer, project_id, next((tmp_path / "more").iterdir()))
    queues = Queues(Settings(redis_url=running.facts["redis_url"]))
    begun_at = now()
    queues.prelabelling(project_id, version=champion.name, asked=True).add([figures[1]["id"]])
    file = tmp_path / "kept.tar.gz"
    said = drape(running, "backup", file)
    assert file.is_file() and "uploads" in said and "redis" in said, said
    # What comes later is lost.
    approve(running, figures[1:2])
    assert "`drape up` runs in" in drape(running, "restore", file, "--force")
    queues.redis.close()
    redis.close()
    running.stop()
    shutil.rmtree(running.data)

    said = drape(running, "restore", file)
    assert "1 model versions are complete" in said and "Start it again with `make up`" in said, said
    running.log.unlink()
    running.start()
    tasks = all_tasks(running, project_id)
    assert len(tasks) == len(figures) + 3
    assert [task["id"] for task in tasks if task["annotations"]] == [figures[0]["id"]]
    again = Registry(running.data / "models").champion(project_id)
    assert again is not None and again.name == champion.name
    check_weights(again)
    (uploaded,) = [task for task in tasks if "/data/upload/" in task["data"]["image"]]
    address = running.facts["label_studio_url"] + uploaded["data"]["image"]
    shown = httpx.get(address, headers=running.bearer, timeout=30)
    assert shown.content == next((tmp_path / "more").iterdir()).read_bytes()

    # All that waited is done, once.
    running.wait(lambda: is_predicted(running, project_id), what="pre-annotation", timeout_s=240)
    queues = Queues(Settings(redis_url=running.facts["redis_url"]))
    asked = queues.prelabelling(project_id, version=champion.name, asked=True)
    running.wait(lambda: asked.progress(since=begun_at).ended, what="the job", timeout_s=60)
    assert asked.progress(since=begun_at).done == 1
    queues.redis.close()
    assert not running.status()["queues"]["failed"]
    # With two more labels there are three that no model was trained on.
    approve(running, figures[1:3])
    running.wait(
        lambda: [one for one in running.status()["queues"]["running"] if one["queue"] == "train"],
        what="a training",
        timeout_s=120,
    )
    running.stop()
