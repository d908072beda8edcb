"""Counts by what changed agree with counts of everything, most of them on a real Label Studio."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, cast

import pytest

from backend.domain import Prediction
from backend.errors import DatasetError
from backend.label_studio import client
from backend.label_studio.client import LabelStudio
from backend.settings import Settings
from tests.training.conftest import Workplace, regions_of
from training.annotations import count
from training.annotations.approvals import Approved
from training.annotations.count import ApprovalCounter


class OneTask:
    """Answers what a count asks about a project of one task, and keeps what it was asked for."""

    def __init__(self) -> None:
        self.annotation = {"id": 5, "created_at": "2026-01-01T00:00:00Z", "updated_at": "", "result": regions_of(1)}
        self.asked: list[list[int]] = []

    def annotated_task_ids(self, _: int) -> list[int]:
        return [1]

    def changed_tasks(self, _: int, *, since: datetime) -> tuple[dict[int, str], int]:
        assert since < datetime(2026, 1, 2, tzinfo=timezone.utc)
        return {1: "2026-01-02T00:00:00+00:00"}, 1

    def annotated_tasks(self, _: int, *, among: Sequence[int]) -> list[dict[str, Any]]:
        self.asked.append(list(among))
        data = {"image": "1.jpg"}
        return [
            {"id": number, "data": data, "updated_at": "2026-01-02T00:00:00Z", "annotations": [self.annotation]}
            for number in among
        ]


def test_everything_is_counted_once_a_day(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The timer asks every ten minutes, and Label Studio takes minutes to export ten thousand images."""
    studio = OneTask()

    def counted() -> list[str]:
        counter = ApprovalCounter(Settings(data_dir=tmp_path), cast(LabelStudio, studio), 7)
        return [one.content_hash for one in counter.update().approved]

    begun = datetime.now(timezone.utc)
    before = counted()
    assert counted() == before
    assert studio.asked == [[1], []]
    # Changed by a program that does not say so in the task.
    studio.annotation["result"] = regions_of(1)[:1]
    for hours, changed in ((23, False), (25, True), (26, True), (-30, True)):
        monkeypatch.setattr(count, "_now", lambda hours=hours: begun + timedelta(hours=hours))
        assert (counted() != before) == changed
    # A clock that is set back does not keep it from being counted.
    assert studio.asked == [[1], [], [], [1], [], [1]]


def test_what_an_evaluation_reads_outlasts_a_count_of_everything(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio = OneTask()
    counter = ApprovalCounter(Settings(data_dir=tmp_path), cast(LabelStudio, studio), 7)
    begun = datetime.now(timezone.utc)
    (read,) = counter.update().approved
    before = list(read.result)
    studio.annotation["result"] = before[:1]
    for days in (0, 1):
        monkeypatch.setattr(count, "_now", lambda days=days: begun + timedelta(days=days))
        counter.recount()
        assert list(read.result) == before
    # Those in use are kept however old they are; the others are not kept for ever.
    for days in (3, 9):
        monkeypatch.setattr(count, "_now", lambda days=days: begun + timedelta(days=days))
        (now,) = counter.recount().approved
        assert list(now.result) == before[:1]
        with pytest.raises(DatasetError, match="cannot be read"):
            list(read.result)


def test_a_file_that_a_crash_has_emptied_is_counted_again(tmp_path: Path) -> None:
    studio = OneTask()
    counter = ApprovalCounter(Settings(data_dir=tmp_path), cast(LabelStudio, studio), 7)
    (before,) = counter.update().approved
    (file,) = (tmp_path / "approvals" / "7.regions").iterdir()
    file.write_text("")
    (after,) = counter.update().approved
    assert list(after.result) == studio.annotation["result"] and before == after


def test_a_file_that_another_count_has_just_moved_means_no_count_of_everything(tmp_path: Path) -> None:
    studio = OneTask()
    counter = ApprovalCounter(Settings(data_dir=tmp_path), cast(LabelStudio, studio), 7)
    counter.update()
    # Listed, and gone when it is looked at, as the file of a count in another process that is just written.
    (tmp_path / "approvals" / "7.regions" / ".5-0.json.1-00000000").symlink_to("gone")
    counter.update()
    assert studio.asked == [[1], []]


def counting(workplace: Workplace, **given: Any) -> ApprovalCounter:
    return ApprovalCounter(Settings(**given), workplace.label_studio, workplace.project_id)


def both(workplace: Workplace, tmp_path: Path, **given: Any) -> tuple[Approved, ...]:
    """By changes, once everything elsewhere has said the same."""
    by_changes = counting(workplace, **given).update()
    anew = counting(workplace, data_dir=tmp_path / "elsewhere", **given).recount()
    assert (by_changes.approved, by_changes.accepted) == (anew.approved, anew.accepted)
    return by_changes.approved


@pytest.mark.services
def test_changes_say_what_everything_says(workplace: Workplace, tmp_path: Path) -> None:
    sdk = workplace.label_studio.sdk
    assert both(workplace, tmp_path) == ()
    first, second = workplace.approve(1), workplace.approve(3)
    assert [one.annotation_id for one in both(workplace, tmp_path)] == sorted([first, second])
    third = workplace.approve(7)
    assert len(both(workplace, tmp_path)) == 3
    # Corrected, skipped, deleted: the task that it was in says so.
    before = {one.annotation_id: one.content_hash for one in both(workplace, tmp_path)}
    result = sdk.annotations.get(first).result or []
    sdk.annotations.update(first, result=result[:2])
    after = {one.annotation_id: one.content_hash for one in both(workplace, tmp_path)}
    assert [one for one in before if before[one] != after[one]] == [first]
    sdk.annotations.update(second, was_cancelled=True)
    assert sorted(one.annotation_id for one in both(workplace, tmp_path)) == sorted([first, third])
    sdk.annotations.delete(third)
    assert [one.annotation_id for one in both(workplace, tmp_path)] == [first]
    # Another rule counts anew.
    assert both(workplace, tmp_path, approval="ground_truth") == ()
    sdk.annotations.update(first, ground_truth=True)
    assert [one.annotation_id for one in both(workplace, tmp_path, approval="ground_truth")] == [first]


@pytest.mark.services
def test_what_was_shown_is_told_too(workplace: Workplace, tmp_path: Path) -> None:
    studio, project_id = workplace.label_studio, workplace.project_id
    workplace.approve(1)
    assert both(workplace, tmp_path)[0].shown is None
    prediction = Prediction(model_version="v1", score=0.5, regions=regions_of(3)[:1])
    studio.write_predictions(project_id, [(workplace.tasks[3], prediction)])
    assert len(both(workplace, tmp_path)) == 1
    studio.sdk.projects.update(project_id, model_version="v1")
    workplace.approve(3)
    (_, shown) = both(workplace, tmp_path)
    assert shown.shown is not None and len(shown.shown) == 1


@pytest.mark.services
def test_only_what_changed_is_asked_for(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in (1, 3):
        workplace.approve(seed)
    studio, asked = workplace.label_studio, list[Sequence[int] | None]()
    everything = studio.annotated_tasks

    def recorded(project_id: int, *, among: Sequence[int] | None = None) -> list[dict[str, Any]]:
        asked.append(among)
        return everything(project_id, among=among)

    monkeypatch.setattr(studio, "annotated_tasks", recorded)
    assert len(counting(workplace).update().approved) == 2
    workplace.approve(7)
    assert len(counting(workplace).update().approved) == 3
    assert len(counting(workplace).update().approved) == 3
    assert asked == [sorted(workplace.tasks[seed] for seed in (1, 3)), [workplace.tasks[7]], []]


@pytest.mark.services
def test_a_deleted_task_is_missed(workplace: Workplace) -> None:
    for seed in (1, 3):
        workplace.approve(seed)
    assert len(counting(workplace).update().approved) == 2
    workplace.label_studio.sdk.tasks.delete(str(workplace.tasks[3]))
    assert len(counting(workplace).update().approved) == 1
    # Also if another one was approved meanwhile, so that as many are annotated as before.
    workplace.label_studio.sdk.tasks.delete(str(workplace.tasks[1]))
    approved = workplace.approve(7)
    assert [one.annotation_id for one in counting(workplace).update().approved] == [approved]


@pytest.mark.services
@pytest.mark.parametrize("newest", [1, 2, 3, 5])
def test_changes_are_seen_however_many_there_are(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, newest: int
) -> None:
    """The newest come with the number of annotated tasks, in one request; more are asked for only if need be."""
    monkeypatch.setattr(client, "PAGE_NEWEST", newest)
    studio, project_id = workplace.label_studio, workplace.project_id
    for seed in (1, 3, 7):
        workplace.approve(seed)
    times, annotated = studio.changed_tasks(project_id, since=datetime(2020, 1, 1, tzinfo=timezone.utc))
    assert sorted(times) == sorted(workplace.tasks[seed] for seed in (1, 3, 7)) and annotated == 3
    moments = sorted(map(datetime.fromisoformat, times.values()))
    for older, moment in enumerate(moments):
        later, annotated = studio.changed_tasks(project_id, since=moment)
        assert sorted(map(datetime.fromisoformat, later.values())) == moments[older:] and annotated == 3
    assert studio.changed_tasks(project_id, since=moments[-1] + timedelta(microseconds=1)) == ({}, 3)


@pytest.mark.services
def test_a_copy_that_is_damaged_is_made_anew(workplace: Workplace) -> None:
    workplace.approve(1)
    counting(workplace).update()
    (path,) = (Settings().data_dir / "approvals").glob("*.json")
    path.write_text("{")
    assert len(counting(workplace).update().approved) == 1


@pytest.mark.services
def test_a_copy_from_before_more_was_counted_is_made_anew(workplace: Workplace) -> None:
    workplace.approve(1)
    before = counting(workplace).update()
    (path,) = (Settings().data_dir / "approvals").glob("*.json")
    older = json.loads(path.read_text())
    del older["accepted"]
    for one in older["approved"]:
        del one["made_at"], one["lead_time_s"], one["from_prediction"], one["file"]
    path.write_text(json.dumps(older))
    assert before.approved[0].made_at
    assert counting(workplace).update() == before


@pytest.mark.services
def test_regions_lie_in_files_and_those_that_no_annotation_has_go(workplace: Workplace) -> None:
    annotation_id = workplace.approve(1)
    workplace.approve(3)
    counting(workplace).update()
    (folder,) = (Settings().data_dir / "approvals").glob("*.regions")
    before = {path.name for path in folder.iterdir()}
    sdk = workplace.label_studio.sdk
    sdk.annotations.update(annotation_id, result=(sdk.annotations.get(annotation_id).result or [])[:1])
    by_changes = counting(workplace).update()
    assert len(before) == 2 and len(list(folder.iterdir())) == 3
    assert sorted(len(one.result) for one in by_changes.approved)[0] == 1
    # What the last count had is kept until everything is counted, two days later.
    for path in folder.iterdir():
        os.utime(path, (0, 0))
    assert counting(workplace).recount() == by_changes
    after = {path.name for path in folder.iterdir()}
    assert len(after) == 2 and len(after & before) == 1
    # A file that is lost is made anew.
    (folder / min(after)).unlink()
    assert counting(workplace).update() == by_changes
    assert {path.name for path in folder.iterdir()} == after
