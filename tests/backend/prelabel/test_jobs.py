"""Pre-annotation on a real Label Studio and a real Redis: versions, races, orders, tags."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import pytest
from PIL import Image as Pillow
from rq import Queue, SimpleWorker

from backend.detector.preparation import preparation_folder
from backend.errors import LabelStudioError, LabelStudioUnavailableError, ModelError
from backend.label_studio.client import LabelStudio
from backend.prelabel.jobs import plan, prelabel, share_out, write_clusters
from backend.prelabel.run import Prelabelling
from backend.prelabel.task_claims import Holder, TaskClaims
from backend.prelabel.task_marks import TaskMarks
from backend.prelabel.worker_models import worker_models
from backend.queues.job_progress import progress_of, snapshot
from backend.queues.queues import CHECKS, CLUSTERS, PRELABEL, Queues
from backend.regions.decode import decode
from backend.registry.registry import Registry, Version
from backend.settings import Settings
from backend.telemetry.problems import Problems
from label_studio_config.demo.figures import draw_figure
from label_studio_config.demo.write import write_images
from label_studio_config.palette_xml import GARMENTS, palette
from label_studio_config.provision import ensure_local_files, ensure_project
from tests.conftest import Studio

pytestmark = pytest.mark.services
SEEDS = (1, 3, 7, 9)


@dataclass(frozen=True)
class Place:
    """A project of four figures, and the parts that work on it."""

    number: int
    studio: LabelStudio
    queues: Queues
    registry: Registry
    promote: Callable[[], Version]

    @property
    def tasks(self) -> list[int]:
        return self.studio.task_ids(self.number)

    @property
    def problems(self) -> str:
        return " ".join(problem.text for problem in Problems(self.queues.redis).recent(20))

    def predictions(self, version: str) -> dict[int, list[dict[str, Any]]]:
        return {
            int(task["id"]): [one for one in task["predictions"] if one["model_version"] == version]
            for task in self.studio.tasks(self.number, self.tasks)
        }

    def work(self, *queues: str) -> None:
        SimpleWorker(list(queues), connection=self.queues.redis).work(burst=True)


@pytest.fixture
def settings(label_studio: Studio, redis_address: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    for name, value in {
        "LABEL_STUDIO_URL": label_studio.url,
        "LABEL_STUDIO_API_KEY": label_studio.api_key,
        "REDIS_URL": redis_address,
        "DATA_DIR": str(tmp_path / "data"),
        "DEVICE": "cpu",
        "PRELABEL_CHUNK": "2",
    }.items():
        monkeypatch.setenv(name, value)
    return Settings()


def make_place(
    settings: Settings,
    studio: Studio,
    starter: Path,
    prepared: Path,
    name: str,
    config: str,
    fill: Callable[[Path], Any],
) -> Place:
    client, registry = LabelStudio(settings), Registry(settings.models_path)
    folder = studio.files / name
    folder.mkdir()
    fill(folder)
    number = ensure_project(client, title=name, label_config=config)
    ensure_local_files(client, project_id=number, folder=folder)

    def promote() -> Version:
        version = registry.add(
            number,
            weights=starter,
            classes=GARMENTS,
            parent=None,
            metrics={},
            annotations={},
            image_size_px=256,
            origin="starter",
        )
        shutil.copytree(prepared, preparation_folder(version))
        registry.promote(number, version.name)
        return version

    return Place(number, client, Queues(settings), registry, promote)


@pytest.fixture
def place(
    settings: Settings, label_studio: Studio, starter: Path, prepared_starter: Path, tmp_path: Path
) -> Iterator[Place]:
    made = make_place(
        settings,
        label_studio,
        starter,
        prepared_starter,
        tmp_path.name,
        palette(GARMENTS),
        lambda folder: write_images(folder, SEEDS),
    )
    yield made
    made.studio.sdk.projects.delete(made.number)


def test_a_newer_version_supersedes_what_has_not_begun(place: Place) -> None:
    first = place.promote()
    assert plan(place.number) == {"tasks": 4, "jobs": 2}
    second = place.promote()
    assert plan(place.number) == {"tasks": 4, "jobs": 2}
    place.work(PRELABEL)
    assert all(not ones for ones in place.predictions(first.name).values())
    assert all(len(ones) == 1 for ones in place.predictions(second.name).values())
    assert place.studio.project(place.number).model_version == second.name
    # What the older version predicted does not hide that the newer has not.
    third = place.promote()
    assert place.studio.waiting_task_ids(place.number, version=second.name) == []
    assert place.studio.waiting_task_ids(place.number, version=third.name) == place.tasks
    some = place.tasks[1:3]
    assert [
        task["id"] for task in place.studio.unpredicted_tasks(place.number, [*some, 999_999], version=third.name)
    ] == some
    assert place.studio.unpredicted_tasks(place.number, some, version=second.name) == []


def test_an_older_version_predicts_where_it_is_asked_for(place: Place, settings: Settings) -> None:
    older, newer = place.promote(), place.promote()
    assert prelabel(place.number, newer.name, place.tasks)["written"] == 4
    first, second, *others = place.tasks
    # Left over from when the older one was the current one: it is dropped, and holds no task that is asked for.
    left = place.queues.enqueue_prelabel(place.number, [first], version=older.name)
    asked = place.queues.enqueue_prelabel(place.number, [first, second], version=older.name, asked=True)
    assert not set(left) & set(asked)
    assert place.queues.enqueue_prelabel(place.number, [second], version=older.name, asked=True) == asked
    place.work(PRELABEL)
    assert progress_of(place.queues.redis, asked).done == 2 and progress_of(place.queues.redis, left).done == 0
    assert [len(ones) for ones in place.predictions(older.name).values()] == [1, 1, 0, 0]
    # What annotators see, and what `/predict` answers with, is the newer one's still.
    assert place.studio.project(place.number).model_version == newer.name
    current = worker_models(settings).batch.active_model(place.number)
    assert current is not None and current.version == newer.name
    assert place.studio.waiting_task_ids(place.number, version=older.name) == others
    # A task that failed is kept with the version that failed.
    assert prelabel(place.number, older.name, [*others, 999_999], asked=True)["failed"] == 1
    marks = TaskMarks(place.queues.redis)
    assert marks.without_failed(place.number, older.name, [999_999]) == []
    assert marks.without_failed(place.number, newer.name, [999_999]) == [999_999]
    with pytest.raises(ModelError, match="no model version"):
        prelabel(place.number, "yolo11n-seg-v9-abcdef", place.tasks, asked=True)


def test_the_current_version_asked_for_is_shown(place: Place) -> None:
    version = place.promote()
    assert prelabel(place.number, version.name, place.tasks, asked=True)["written"] == 4
    assert place.studio.project(place.number).model_version == version.name
    (job,) = Queue(CLUSTERS, connection=place.queues.redis).jobs
    assert set(job.args[2]) == set(place.tasks)


def test_the_same_event_twice_is_one_work(place: Place) -> None:
    version = place.promote()
    for _ in range(2):
        place.queues.enqueue_imported(place.number, place.tasks)
    place.work(CHECKS)
    assert len(Queue(PRELABEL, connection=place.queues.redis)) == 2
    assert share_out(place.number, place.tasks)["jobs"] == 2
    assert plan(place.number) == {"tasks": 4, "jobs": 2}
    assert len(Queue(PRELABEL, connection=place.queues.redis)) == 2
    state = snapshot(place.queues.redis)
    assert state["tasks_to_prelabel"] == {str(place.number): 4}
    jobs = place.queues.enqueue_prelabel(place.number, place.tasks, version=version.name)
    place.work(PRELABEL)
    told = progress_of(place.queues.redis, jobs)
    assert (told.done, told.failed, told.open_jobs, told.reasons) == (4, 0, 0, ())
    assert snapshot(place.queues.redis)["tasks_to_prelabel"] == {}


def test_a_project_without_a_model_waits_for_its_first(place: Place) -> None:
    assert plan(place.number) == share_out(place.number, place.tasks) == {"tasks": 0, "jobs": 0}
    assert prelabel(place.number, "", place.tasks)["skipped"] == 4


def test_what_predict_has_answered_and_what_another_job_holds_is_left_alone(place: Place) -> None:
    version, marks = place.promote(), TaskMarks(place.queues.redis)
    claims = TaskClaims(place.queues.redis)
    answered, held, *_ = place.tasks
    marks.answered(place.number, version.name, [answered])
    assert claims.take(place.number, version.name, [held], holder=Holder.of("another job")).taken == {held}
    counts = prelabel(place.number, version.name, place.tasks)
    assert (counts["written"], counts["failed"]) == (2, 0)
    assert [len(ones) for ones in place.predictions(version.name).values()] == [0, 0, 1, 1]
    # Another's claim stays its own; ours are given back.
    third = Holder.of("third")
    assert claims.take(place.number, version.name, place.tasks, holder=third).taken == set(place.tasks) - {held}


def test_a_run_that_was_given_up_leaves_its_tasks_to_a_later_run(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a worker whose cable was out for minutes: its job went to another, and then it is there again."""
    version, claims = place.promote(), TaskClaims(place.queues.redis)
    unpredicted, later, taken = LabelStudio.unpredicted_tasks, Holder.of("by hand"), place.tasks[:3]

    def then_take_over(self: LabelStudio, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        found = unpredicted(self, *args, **kwargs)
        assert claims.take(place.number, version.name, taken, holder=later).inherited == set(taken)
        return found

    with monkeypatch.context() as patched:
        patched.setattr(LabelStudio, "unpredicted_tasks", then_take_over)
        counts = prelabel(place.number, version.name, place.tasks)
    assert (counts["written"], counts["skipped"], counts["failed"]) == (1, 3, 0)
    # What the later run holds is not given free by the earlier one.
    assert claims.holders(place.number, version.name, taken) == dict.fromkeys(taken, str(later))
    assert claims.take(place.number, version.name, taken, holder=Holder.of("another job")).taken == set()
    assert prelabel(place.number, version.name, place.tasks)["written"] == 3
    assert [len(ones) for ones in place.predictions(version.name).values()] == [1, 1, 1, 1]


@pytest.mark.parametrize("has_model", [True, False])
def test_a_promotion_as_a_job_begins_leaves_no_task_with_two_predictions(
    place: Place, monkeypatch: pytest.MonkeyPatch, has_model: bool
) -> None:
    """The job that was queued for the earlier model, or for none, must not write the later one's predictions, too."""
    queued_for = place.promote().name if has_model else ""
    prepare_version, unpredicted = Prelabelling._prepare, LabelStudio.unpredicted_tasks
    promoted: list[Version] = []
    runs: list[int] = []

    def then_promote(self: Prelabelling) -> None:
        prepare_version(self)
        if not promoted:
            promoted.append(place.promote())

    def then_predict(self: LabelStudio, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        found = unpredicted(self, *args, **kwargs)
        if not runs:
            runs.append(1)
            prelabel(place.number, promoted[0].name, place.tasks)
        return found

    monkeypatch.setattr(Prelabelling, "_prepare", then_promote)
    monkeypatch.setattr(LabelStudio, "unpredicted_tasks", then_predict)
    monkeypatch.setattr("backend.prelabel.worker_models.WorkerModels.answers", lambda *_: True)
    assert prelabel(place.number, queued_for, place.tasks)["written"] == 0
    prelabel(place.number, promoted[0].name, place.tasks)
    assert [len(ones) for ones in place.predictions(promoted[0].name).values()] == [1, 1, 1, 1]


@pytest.mark.parametrize("answers", [True, False])
def test_a_write_that_arrives_after_another_run_has_written_leaves_no_second_prediction(
    place: Place, monkeypatch: pytest.MonkeyPatch, answers: bool
) -> None:
    """As of a network that fails in the middle of a write: the data arrives once it is back, its answer may not."""
    version, write, writes = place.promote(), LabelStudio.write_predictions, []

    def late(self: LabelStudio, project_id: int, pairs: list[Any]) -> None:
        writes.append(len(pairs))
        is_first = len(writes) == 1
        if is_first:
            assert prelabel(place.number, version.name, place.tasks)["written"] == 4
        write(self, project_id, pairs)
        if is_first and not answers:
            raise LabelStudioUnavailableError("Label Studio did not answer.")

    monkeypatch.setattr(LabelStudio, "write_predictions", late)
    prelabel(place.number, version.name, place.tasks)
    assert [size for size in writes if size] == [4, 4]
    assert [len(ones) for ones in place.predictions(version.name).values()] == [1, 1, 1, 1]


def test_a_refused_write_stops_no_other(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    version = place.promote()
    unpredicted = LabelStudio.unpredicted_tasks

    def then_delete(self: LabelStudio, *args: Any, **kwargs: Any) -> list[dict[str, Any]]:
        found = unpredicted(self, *args, **kwargs)
        self.sdk.tasks.delete(str(found[1]["id"]))
        return found

    monkeypatch.setattr(LabelStudio, "unpredicted_tasks", then_delete)
    tasks = place.tasks
    counts = prelabel(place.number, version.name, tasks)
    assert (counts["written"], counts["failed"]) == (3, 1)
    assert "not stored" in place.problems or "not there" in place.problems
    # It is not tried again by the next plan, but by whoever asks for it.
    assert plan(place.number)["tasks"] == 0


def test_the_longer_a_write_takes_the_more_the_next_one_holds(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    version, write, sizes = place.promote(), LabelStudio.write_predictions, []
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
    assert prelabel(place.number, version.name, place.tasks)["written"] == 4
    assert sizes == [1, 3] and "one of its flags" in caplog.text
    assert [len(ones) for ones in place.predictions(version.name).values()] == [1, 1, 1, 1]


def test_what_is_refused_together_is_written_one_by_one(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    version = place.promote()
    refused = LabelStudioError("Label Studio answered 400.")
    monkeypatch.setattr(LabelStudio, "write_predictions", lambda *_: (_ for _ in ()).throw(refused))
    assert prelabel(place.number, version.name, place.tasks)["written"] == 4
    stored = place.predictions(version.name)
    # What is written by itself says its cluster at once.
    assert [len(ones) for ones in stored.values()] == [1, 1, 1, 1]
    assert all(100 <= ones[0]["cluster"] < 200 for ones in stored.values())
    assert len(Queue(CLUSTERS, connection=place.queues.redis)) == 0


def test_what_the_model_does_not_know_is_said_once(place: Place) -> None:
    place.studio.sdk.projects.update(place.number, label_config=palette((*GARMENTS, "belt", "border")))
    version = place.promote()
    prelabel(place.number, version.name, place.tasks[:2])
    prelabel(place.number, version.name, place.tasks[2:])
    assert place.problems.count("does not know 'belt', 'border'") == 1


def test_the_least_sure_of_the_cluster_annotated_least_is_served_first(place: Place, label_studio: Studio) -> None:
    version = place.promote()
    prelabel(place.number, version.name, place.tasks)
    (job,) = Queue(CLUSTERS, connection=place.queues.redis).jobs
    assert set(job.args[2]) == set(place.tasks) and all(100 <= number < 200 for number in job.args[2].values())
    # Groups of our own choice, so that the right order is known: two figures each.
    clusters = dict(zip(place.tasks, (100, 100, 101, 101), strict=True))
    assert write_clusters(place.number, version.name, clusters) == {"written": 4}
    assert write_clusters(place.number, version.name, clusters) == {"written": 0}
    stored = {task: ones[0] for task, ones in place.predictions(version.name).items()}
    assert {task: one["cluster"] for task, one in stored.items()} == clusters
    left = set(place.tasks)
    served = []
    for _ in range(4):
        served.append(next_task(label_studio, place))
        left.discard(served[-1])
        regions = stored[served[-1]]["result"]
        place.studio.sdk.annotations.create(served[-1], result=regions)
    annotated: list[int] = []
    for task in served:
        of_group = {number: sum(clusters[one] == number for one in annotated) for number in (100, 101)}
        waiting = [one for one in place.tasks if one not in annotated]
        assert task == min(waiting, key=lambda one: (of_group[clusters[one]], stored[one]["score"]))
        annotated.append(task)


def next_task(studio: Studio, place: Place) -> int:
    """What Label Studio's *Label all tasks* gives next."""
    answer = httpx.post(
        f"{studio.url}/api/dm/actions",
        params={"id": "next_task", "project": place.number},
        headers={"Authorization": place.studio.bearer()},
        timeout=30,
    )
    return int(answer.raise_for_status().json()["id"])


def test_samples_are_from_all_over_the_project(place: Place) -> None:
    assert len(place.studio.sample_tasks(place.number, count=128, runs=16)) == 4
    one_each = place.studio.sample_tasks(place.number, count=2, runs=2)
    assert [task["id"] for task in one_each] == [place.tasks[0], place.tasks[-1]]


def photographs(folder: Path) -> None:
    """One figure, stored in ways that have to be undone: turned, in 16 bits, with alpha."""
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
    "two images": '<View><Image name="front" value="$image"/><Image name="back" value="$image"/>'
    f'<PolygonLabels name="f" toName="front">{LABELS}</PolygonLabels>'
    f'<PolygonLabels name="b" toName="back">{LABELS}</PolygonLabels></View>',
}


@pytest.mark.parametrize("kind", TAGS)
def test_regions_of_every_tag_lie_on_the_upright_photograph(
    settings: Settings, label_studio: Studio, starter: Path, prepared_starter: Path, tmp_path: Path, kind: str
) -> None:
    place = make_place(settings, label_studio, starter, prepared_starter, tmp_path.name, TAGS[kind], photographs)
    version = place.promote()
    assert prelabel(place.number, version.name, place.tasks)["written"] == 3, place.problems
    figure = draw_figure(3)
    height, width = figure.pixels.shape[:2]
    for (stored,) in place.predictions(version.name).values():
        regions = stored["result"]
        assert {(one["original_width"], one["original_height"]) for one in regions} == {(width, height)}
        masks, problems = decode(regions)
        assert masks and not problems
        if kind == "two images":
            assert {one["to_name"] for one in regions} == {"front", "back"}
        best = max(
            np.count_nonzero(mask.mask & one.mask) / np.count_nonzero(mask.mask | one.mask)
            for mask in masks
            for one in figure.instances
            if one.label == mask.label
        )
        assert best > (0.5 if kind == "rectangle" else 0.75), (kind, best)
    place.studio.sdk.projects.delete(place.number)
