"""`drape import`, as a command, on a real Label Studio and a real Redis."""

from __future__ import annotations

from pathlib import Path

import pytest
from rq import Queue
from typer.testing import CliRunner

from backend.label_studio.client import LabelStudio
from backend.queues.queues import CHECKS, Jobs, Queues
from label_studio_config.provision import ensure_project
from launcher.cli import app
from tests.conftest import Studio
from tests.projects import settings_in_environment
from tests.training.data_in.drawn import CONFIG, body, save
from tests.training.data_in.sets import write_coco
from training.jobs import check_approvals

pytestmark = pytest.mark.services


def test_imported_labels_are_counted_at_once(
    label_studio: Studio, redis_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = settings_in_environment(monkeypatch, label_studio, redis_address, tmp_path / "data")
    studio, redis = LabelStudio(settings), Queues(settings).redis
    project_id = ensure_project(studio, title=tmp_path.name, label_config=CONFIG)
    for number in (1, 2):
        save(tmp_path / "set" / f"{number}.jpg", number)
    write_coco(tmp_path / "set" / "set.json", ["1.jpg", "2.jpg"], ["dress"], [(1, 0, [body(0.1)], 0)])
    command = ["import", "--project", str(project_id), str(tmp_path / "set")]
    assert CliRunner().invoke(app, [*command, "--dry-run"]).exit_code == 0
    assert not Queue(CHECKS, connection=redis).jobs
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 0, told.output
    (job,) = Queue(CHECKS, connection=redis).jobs
    assert (job.func_name, job.args) == (Jobs.CHECK_APPROVALS, (project_id,))
    assert check_approvals(project_id)["new"] == 1
    # The import is done all the same where Redis is away; it says what does not happen at once.
    monkeypatch.setenv("REDIS_URL", "redis://127.0.0.1:1/0")
    told = CliRunner().invoke(app, command)
    assert told.exit_code == 0 and "Redis does not answer" in told.output
    studio.sdk.projects.delete(project_id)
