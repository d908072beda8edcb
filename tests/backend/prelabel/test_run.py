"""One run of a pre-annotation job: what it writes, what is refused, and what it writes for each kind of tag."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image as Pillow
from rq import Queue

from backend.errors import LabelStudioError, LabelStudioUnavailableError
from backend.label_studio.client import LabelStudio
from backend.prelabel.jobs import plan, prelabel
from backend.prelabel.run import Prelabelling
from backend.queues.queues import CHECKS
from backend.regions.decode import decode
from backend.registry.registry import Version
from backend.settings import Settings
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette_xml import GARMENTS, palette
from tests.backend.prelabel.conftest import Project, make_project
from tests.conftest import ROOT, Studio
from tests.support import iou

pytestmark = pytest.mark.services


# A worker that is killed whenever it predicts a certain task, as for lack of memory.
KILLED = """
import os, signal, sys
from backend.predict.batch import Batch
from backend.queues.queues import PRELABEL, Queues
from backend.queues.worker import ResidentWorker
from backend.settings import Settings
predict, killer = Batch.predict, int(sys.argv[1])
def dying(self, tasks, *args, **kwargs):
    for outcome in predict(self, tasks, *args, **kwargs):
        if outcome.task_id == killer:
            os.kill(os.getpid(), signal.SIGKILL)
        yield outcome
Batch.predict = dying
ResidentWorker(PRELABEL, connection=Queues(Settings()).redis, lost_after_s=3).work(max_idle_time=6)
"""


def test_a_task_that_kills_its_worker_is_left_and_the_others_are_predicted(project: Project) -> None:
    version, (first, killer, *others) = project.promote(), project.tasks
    project.queues.prelabelling(project.number, version=version.name).add(project.tasks)
    ended: list[int] = []
    while not ended or ended[-1] != 0:
        assert len(ended) < 4
        run = subprocess.run([sys.executable, "-c", KILLED, str(killer)], cwd=ROOT, capture_output=True, check=False)
        ended.append(run.returncode)
    # Predicted with others, then alone, then left out.
    assert ended == [-signal.SIGKILL, -signal.SIGKILL, 0]
    stored = {task_id: len(ones) for task_id, ones in project.predictions(version.name).items()}
    assert stored == {first: 1, killer: 0, others[0]: 1, others[1]: 1}
    assert "The worker died while it predicted this image" in project.problems
    # For a day no plan queues it again.
    assert plan(project.number)["tasks"] == 0


@pytest.mark.parametrize("has_model", [True, False])
def test_a_promotion_as_a_job_begins_leaves_no_task_with_two_predictions(
    project: Project, monkeypatch: pytest.MonkeyPatch, has_model: bool
) -> None:
    """The job that was queued for the earlier model, or for none, must not write the later one's predictions, too."""
    queued_for = project.promote().name if has_model else ""
    prepare_version, unpredicted = Prelabelling._prepare, LabelStudio.unpredicted_tasks
    promoted: list[Version] = []
    runs: list[int] = []

    def then_promote(self: Prelabelling) -> None:
        prepare_version(self)
        if not promoted:
            promoted.append(project.promote())

    def then_predict(self: LabelStudio, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        found = unpredicted(self, *args, **kwargs)
        if not runs:
            runs.append(1)
            prelabel(project.number, promoted[0].name, project.tasks)
        return found

    monkeypatch.setattr(Prelabelling, "_prepare", then_promote)
    monkeypatch.setattr(LabelStudio, "unpredicted_tasks", then_predict)
    monkeypatch.setattr("backend.prelabel.worker_models.WorkerModels.answers", lambda *_: True)
    assert prelabel(project.number, queued_for, project.tasks)["written"] == 0
    prelabel(project.number, promoted[0].name, project.tasks)
    assert [len(ones) for ones in project.predictions(promoted[0].name).values()] == [1, 1, 1, 1]


@pytest.mark.parametrize("answers", [True, False])
def test_a_write_that_arrives_after_another_run_has_written_leaves_no_second_prediction(
    project: Project, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    """As of a network that fails in the middle of a write: the data arrives once it is back, its answer may not."""
    version, write, writes = project.promote(), LabelStudio.write_predictions, []

    def late(self: LabelStudio, project_id: int, pairs: list[Any]) -> None:
        writes.append(len(pairs))
        is_first = len(writes) == 1
        if is_first:
            assert prelabel(project.number, version.name, project.tasks)["written"] == 4
        write(self, project_id, pairs)
        if is_first and not answers:
            raise LabelStudioUnavailableError("Label Studio did not answer.")

    monkeypatch.setattr(LabelStudio, "write_predictions", late)
    prelabel(project.number, version.name, project.tasks)
    assert [size for size in writes if size] == [4, 4]
    assert [len(ones) for ones in project.predictions(version.name).values()] == [1, 1, 1, 1]


def test_a_refused_write_stops_no_other(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    version = project.promote()
    unpredicted = LabelStudio.unpredicted_tasks

    def then_delete(self: LabelStudio, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        found = unpredicted(self, *args, **kwargs)
        self.sdk.tasks.delete(str(found[1]["id"]))
        return found

    monkeypatch.setattr(LabelStudio, "unpredicted_tasks", then_delete)
    tasks = project.tasks
    counts = prelabel(project.number, version.name, tasks)
    assert (counts["written"], counts["failed"]) == (3, 1)
    assert "not stored" in project.problems or "not there" in project.problems
    # It is not tried again by the next plan, but by whoever asks for it.
    assert plan(project.number)["tasks"] == 0


def test_the_longer_a_write_takes_the_more_the_next_one_holds(
    project: Project, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    version, write, sizes = project.promote(), LabelStudio.write_predictions, []
    done = threading.Event()

    def slowly(self: LabelStudio, project_id: int, pairs: list[Any]) -> None:
        sizes.append(len(pairs))
        if len(sizes) == 1:
            assert done.wait(60)
        write(self, project_id, pairs)

    class Told(Prelabelling):
        def _outcomes(self, *given: Any) -> Any:
            yield from super()._outcomes(*given)
            done.set()

    monkeypatch.setattr("backend.prelabel.run.WRITE_TASKS", 1)
    monkeypatch.setattr("backend.prelabel.run.SLOW_S", 0.0)
    monkeypatch.setattr("backend.prelabel.jobs.Prelabelling", Told)
    monkeypatch.setattr(LabelStudio, "write_predictions", slowly)
    assert prelabel(project.number, version.name, project.tasks)["written"] == 4
    assert sizes == [1, 3] and "one of its flags" in caplog.text
    assert [len(ones) for ones in project.predictions(version.name).values()] == [1, 1, 1, 1]


def test_what_is_refused_together_is_written_one_by_one(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    version = project.promote()
    refused = LabelStudioError("Label Studio answered 400.")
    monkeypatch.setattr(LabelStudio, "write_predictions", lambda *_: (_ for _ in ()).throw(refused))
    assert prelabel(project.number, version.name, project.tasks)["written"] == 4
    stored = project.predictions(version.name)
    # What is written by itself says its cluster at once.
    assert [len(ones) for ones in stored.values()] == [1, 1, 1, 1]
    assert all(100 <= ones[0]["cluster"] < 200 for ones in stored.values())
    assert len(Queue(CHECKS, connection=project.queues.redis)) == 0


def test_what_the_model_does_not_know_is_said_once(project: Project) -> None:
    project.studio.sdk.projects.update(project.number, label_config=palette((*GARMENTS, "border", "brooch")))
    version = project.promote()
    prelabel(project.number, version.name, project.tasks[:2])
    prelabel(project.number, version.name, project.tasks[2:])
    assert project.problems.count("does not know 'border', 'brooch'") == 1


def write_photographs(folder: Path) -> None:
    """One figure, stored in ways that have to be undone: turned, in 16 bits, with alpha."""
    folder.mkdir()
    pixels = draw_figure(3).pixels
    exif = Pillow.Exif()
    exif[0x0112] = 6
    Pillow.fromarray(np.rot90(pixels).copy()).save(folder / "turned.jpg", quality=95, exif=exif)
    cv2.imwrite(str(folder / "deep.png"), pixels[..., ::-1].astype(np.uint16) * 257)
    Pillow.fromarray(np.dstack([pixels, np.full(pixels.shape[:2], 255, np.uint8)])).save(folder / "alpha.png")


LABELS = "".join(f'<Label value="{label}"/>' for label in GARMENTS)
TAGS = {
    "polygon": palette(GARMENTS),
    **{
        kind: f'<View><Image name="image" value="$image"/><{kind.capitalize()}Labels name="tag" toName="image">{LABELS}'
        f"</{kind.capitalize()}Labels></View>"
        for kind in ("brush", "bitmask", "rectangle")
    },
}


@pytest.mark.parametrize("kind", TAGS)
def test_regions_of_every_tag_lie_on_the_upright_photograph(
    settings: Settings, label_studio: Studio, starter: Path, prepared_starter: Path, tmp_path: Path, kind: str
) -> None:
    folder = label_studio.files / tmp_path.name
    write_photographs(folder)
    project = make_project(settings, folder, starter, prepared_starter, label_config=TAGS[kind])
    version = project.promote()
    assert prelabel(project.number, version.name, project.tasks)["written"] == 3, project.problems
    figure = draw_figure(3)
    height, width = figure.pixels.shape[:2]
    for (stored,) in project.predictions(version.name).values():
        regions = stored["result"]
        assert {(one["original_width"], one["original_height"]) for one in regions} == {(width, height)}
        masks, problems = decode(regions)
        assert masks and not problems
        best = max(iou(mask.mask, one.mask) for mask in masks for one in figure.instances if one.label == mask.label)
        assert best > (0.5 if kind == "rectangle" else 0.75), (kind, best)
    project.studio.sdk.projects.delete(project.number)
