"""Where a project stands: the arithmetic, and the whole of it on a real Label Studio."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rq import Queue

from backend.auto_accept.marks import accepted_regions
from backend.domain import Prediction
from backend.errors import DatasetError, LabelStudioUnavailableError
from backend.label_studio.client import LabelStudio, TaskCounts
from backend.queues.queues import TRAIN
from backend.regions.content_hash import content_hash
from backend.status.survey import Corrections, Origin, Survey, Surveys, Work
from tests.training.annotations.test_truth import CONFIG, A, B, box
from tests.training.conftest import SEEDS, Workplace, regions_of
from training.annotations.approvals import Approved
from training.annotations.corrections import Correction
from training.annotations.count import Count
from training.annotations.label_cache import cached_labels
from training.annotations.stored_regions import StoredRegions, store_regions
from training.annotations.survey import corrections, instances, survey_of, work_by_day, work_in_total
from training.annotations.truth import garment_labels
from training.jobs import check_approvals


def approved(number: int, result: list[dict[str, Any]], **more: Any) -> Approved:
    return Approved(number, number, {}, result, content_hash(result), made_at="2026-11-20T10:00:00Z", **more)


def test_work_is_that_of_each_day_and_origin() -> None:
    made: list[Any] = [
        ("scratch", "2026-11-19", 10.0),
        ("scratch", "2026-11-19", 40.0),
        ("scratch", "2026-11-19", 20.04),
        ("scratch", "2026-11-20", None),
        ("prediction", "2026-11-20", 5.0),
        ("prediction", "2026-11-20", None),
        ("prediction", "2026-11-20", 8.0),
        ("accepted", "2026-11-19", None),
        # Nobody knows when.
        ("prediction", None, 1.0),
    ]
    assert work_by_day(made) == [
        Work("2026-11-19", "accepted", 1, 0, None),
        Work("2026-11-19", "scratch", 3, 3, 20.0),
        Work("2026-11-20", "prediction", 3, 2, 6.5),
        Work("2026-11-20", "scratch", 1, 0, None),
    ]
    assert work_in_total(made) == [
        Work(None, "accepted", 1, 0, None),
        Work(None, "prediction", 4, 3, 5.0),
        Work(None, "scratch", 4, 3, 20.0),
    ]
    assert work_by_day([]) == work_in_total([]) == []


CORRECTIONS = [
    ([], 3, Corrections(0, 0, 0, None, None, 3)),
    # An image without garments, shown and approved.
    ([Correction(True, ())], 0, Corrections(1, 1, 0, None, None, 0)),
    (
        [Correction(True, (1.0, 1.0)), Correction(False, (0.9, 0.0)), Correction(False, (0.8,))],
        0,
        Corrections(3, 1, 5, 0.74, 0.9, 0),
    ),
]


@pytest.mark.parametrize(("compared", "left", "expected"), CORRECTIONS)
def test_corrections_are_counted_by_garment(compared: list[Correction], left: int, expected: Corrections) -> None:
    assert corrections(compared, left=left) == expected


def test_instances_are_counted_by_garment_under_every_label() -> None:
    ones = [approved(1, [A, {**B, "parentID": "a"}]), approved(2, [A, B, box("k", 0, 0, 9, 9, "kurta")])]
    labels = [garment_labels(one.result, CONFIG) for one in ones]
    assert instances(labels, CONFIG) == {"saree": 3, "blouse": 0, "kurta": 1, "belt": 0}


def test_regions_that_are_stored_are_read_once_for_their_labels(tmp_path: Path) -> None:
    cache = tmp_path / "labels.json"
    ones = [
        store_regions(one, tmp_path / "regions").restored(tmp_path / "regions")
        for one in (approved(1, [A]), approved(2, [A, B], shown=[A], shown_hash="x"))
    ]
    assert isinstance(ones[0].result, StoredRegions)
    assert (ones[1].result, ones[1].shown, ones[0].shown) == ([A, B], [A], None)
    assert cached_labels(ones, CONFIG, cache) == [["saree"], ["saree", "saree"]]
    for path in (tmp_path / "regions").iterdir():
        path.write_text("{")
    # From the cache: the regions themselves can no longer be read.
    assert cached_labels(ones, CONFIG, cache) == [["saree"], ["saree", "saree"]]
    with pytest.raises(DatasetError, match="counted again"):
        list(ones[0].result)
    cache.write_text("{")
    with pytest.raises(DatasetError, match="counted again"):
        cached_labels(ones, CONFIG, cache)


def test_days_are_those_of_utc_and_the_service_is_no_person() -> None:
    count = Count(
        settings=(),
        latest={},
        annotated=(),
        approved=(
            approved(1, [A], lead_time_s=8.0),
            replace(approved(2, [A]), made_at="2026-11-20T23:30:00-05:00", from_prediction=True),
            replace(approved(3, [A]), made_at=""),
            approved(4, [A], by_person=False),
        ),
        accepted={"4": "2026-11-20T09:00:00Z", "5": "2026-11-20T09:30:00.123456Z"},
        recounted_at="",
    )
    made = survey_of("Wardrobe", count, CONFIG, TaskCounts(9, 8, 4, 1), [], [["saree"]] * 3, left=0, new=3, needed=50)
    assert made.work == (
        Work("2026-11-20", "accepted", 2, 0, None),
        Work("2026-11-20", "scratch", 1, 1, 8.0),
        Work("2026-11-21", "prediction", 1, 0, None),
    )
    assert [(one.origin, one.images) for one in made.totals] == [("accepted", 2), ("prediction", 1), ("scratch", 2)]
    assert (made.approved, made.auto_accepted, made.instances["saree"]) == (3, 2, 3)
    assert (made.images, made.predicted, made.waiting, made.doubtful, made.new, made.needed) == (9, 8, 4, 1, 3, 50)


# A figure with one garment of each of these, in this order; the last is two regions of the result, shape and label.
SEED, GARMENTS_SHOWN = 7, ("blouse", "saree", "bottoms", "kurta", "shawl")
FIGURE = regions_of(SEED)
_Figures = tuple[Origin, int, int, float | None]


@pytest.fixture
def tasks(workplace: Workplace) -> list[int]:
    """Eight tasks more, whose images nobody fetches."""
    sdk, project_id = workplace.label_studio.sdk, workplace.project_id
    before = set(workplace.label_studio.task_ids(project_id))
    sdk.projects.import_tasks(project_id, request=[{"image": f"/nowhere/{number}.jpg"} for number in range(8)])
    return sorted(set(workplace.label_studio.task_ids(project_id)) - before)


def predicted(workplace: Workplace, scores: dict[int, float]) -> dict[int, int]:
    """Stores a prediction for each task; their ids."""
    studio, project_id = workplace.label_studio, workplace.project_id
    made = [(task, Prediction(model_version="v1", score=score, regions=FIGURE)) for task, score in scores.items()]
    studio.write_predictions(project_id, made)
    studio.show_model_version(project_id, "v1")
    return {int(task["id"]): int(task["predictions"][0]["id"]) for task in studio.tasks(project_id, list(scores))}


def of_all_and_today(survey: Survey, *figures: _Figures) -> bool:
    day = survey.at[:10]
    return survey.work == tuple(Work(day, *one) for one in figures) and survey.totals == tuple(
        Work(None, *one) for one in figures
    )


@pytest.mark.services
def test_a_project_is_surveyed_with_every_count(workplace: Workplace, tasks: list[int]) -> None:
    project_id, studio, surveys = workplace.project_id, workplace.label_studio, Surveys(workplace.queues.redis)
    annotations, held = studio.sdk.annotations, len(SEEDS) + 1 + len(tasks)
    check_approvals(project_id)
    blank = surveys.all()[project_id]
    assert (blank.title, blank.images, blank.predicted) == (studio.project(project_id).title, held, 0)
    assert (blank.approved, blank.waiting, blank.doubtful, blank.work, blank.totals) == (0, 0, 0, (), ())
    assert set(GARMENTS_SHOWN) < set(blank.instances) and set(blank.instances.values()) == {0}

    scratch, unchanged, changed, accepted, skipped, sure, doubtful, _ = tasks
    scores = {unchanged: 0.9, changed: 0.9, accepted: 0.9, skipped: 0.4, sure: 0.5, doubtful: 0.49}
    ids = predicted(workplace, scores)
    annotations.create(scratch, result=FIGURE, lead_time=60.0)
    annotations.create(unchanged, result=FIGURE, lead_time=6.0, parent_prediction=ids[unchanged])
    annotations.create(changed, result=FIGURE[:-2], lead_time=11.0, parent_prediction=ids[changed])
    studio.accept(accepted, accepted_regions(FIGURE, "v1"), unique_id="5b0d1d7c-2f11-4f0b-9d3e-6d9a6a0e6a4f")
    annotations.create(skipped, result=[], was_cancelled=True, lead_time=3.0)
    assert check_approvals(project_id)["new"] == 3
    now = surveys.all()[project_id]
    assert (now.images, now.predicted, now.waiting, now.doubtful) == (held, len(scores), 2, 1)
    assert (now.approved, now.auto_accepted, now.new, now.needed) == (3, 1, 3, 2)
    assert of_all_and_today(now, ("accepted", 1, 0, None), ("prediction", 2, 2, 8.5), ("scratch", 1, 1, 60.0))
    assert [now.instances[label] for label in GARMENTS_SHOWN] == [3, 3, 3, 3, 2]
    assert now.corrections == Corrections(2, 1, 10, 0.9, 1.0, 0)

    # A person saves what the service had accepted, one annotation is opened again, and one deleted.
    (own,) = annotations.list(accepted)
    annotations.update(own.id or 0, result=own.result, lead_time=4.0)
    (reopened,), (deleted,) = annotations.list(scratch), annotations.list(changed)
    annotations.update(reopened.id or 0, result=FIGURE[:-2], lead_time=75.0)
    annotations.delete(deleted.id or 0)
    check_approvals(project_id)
    later = surveys.all()[project_id]
    assert (later.approved, later.auto_accepted, later.waiting) == (3, 0, 3)
    assert of_all_and_today(later, ("prediction", 2, 2, 5.0), ("scratch", 1, 1, 75.0))
    assert later.corrections.shown == later.corrections.unchanged == 2


@pytest.mark.services
def test_what_the_service_accepted_is_counted_apart_where_it_is_trained_on(
    workplace: Workplace, tasks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TRAIN_ON_AUTO_ACCEPTED", "true")
    regions = accepted_regions(FIGURE, "v1")
    workplace.label_studio.accept(tasks[0], regions, unique_id="5b0d1d7c-2f11-4f0b-9d3e-6d9a6a0e6a40")
    workplace.approve(1)
    assert check_approvals(workplace.project_id)["new"] == 2
    survey = Surveys(workplace.queues.redis).all()[workplace.project_id]
    assert (survey.approved, survey.auto_accepted, survey.new) == (1, 1, 2)
    assert (survey.instances["saree"], survey.instances["shawl"]) == (1, 0)


@pytest.mark.services
def test_a_count_stands_where_the_survey_fails(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    project_id, surveys = workplace.project_id, Surveys(workplace.queues.redis)
    check_approvals(project_id)
    before = surveys.all()

    def away(*_: object, **__: object) -> TaskCounts:
        raise LabelStudioUnavailableError("Label Studio does not answer.")

    monkeypatch.setattr(LabelStudio, "task_counts", away)
    for seed in SEEDS:
        workplace.approve(seed)
    assert check_approvals(project_id) == {"new": 3, "needed": 2}
    assert surveys.all() == before
    assert "figures could not be updated" in workplace.problems.recent(1)[0].text
    assert [job.args[0] for job in Queue(TRAIN, connection=workplace.queues.redis).jobs] == [project_id]
