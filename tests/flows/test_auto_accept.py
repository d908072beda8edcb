"""Accepting without a person, on a real Label Studio and a real Redis."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from rq import Queue
from typer.testing import CliRunner

from backend.auto_accept.calibration import FILE, read_calibration
from backend.auto_accept.gate import gate_of, switch_off_reason
from backend.auto_accept.marks import accepted_by
from backend.auto_accept.withdraw import withdraw
from backend.detector.preparation import RECORD_FILE, preparation_folder
from backend.label_studio.client import LabelStudio
from backend.prelabel.jobs import prelabel
from backend.queues.queues import CHECKS, Jobs
from backend.registry.records import read_text
from backend.registry.registry import Version
from backend.service import Service
from backend.settings import Settings
from backend.status.audits import Audits
from launcher.cli import app
from tests.training.conftest import SEEDS, Workplace
from training.jobs import check_approvals, train

pytestmark = pytest.mark.services


def champion_of(workplace: Workplace) -> Version:
    champion = workplace.registry.champion(workplace.project_id)
    assert champion is not None
    return champion


def figures(workplace: Workplace) -> list[int]:
    return [workplace.tasks[seed] for seed in SEEDS]


def run(workplace: Workplace) -> dict[str, int]:
    return prelabel(workplace.project_id, champion_of(workplace).name, figures(workplace))


def annotations_of(workplace: Workplace, task_id: int) -> list[dict[str, Any]]:
    (task,) = workplace.label_studio.tasks(workplace.project_id, [task_id])
    found: list[dict[str, Any]] = task["annotations"]
    return found


def predictions(workplace: Workplace, task_id: int) -> list[dict[str, Any]]:
    (task,) = workplace.label_studio.tasks(workplace.project_id, [task_id])
    found: list[dict[str, Any]] = task["predictions"]
    return found


def counts_waiting(workplace: Workplace) -> int:
    jobs = Queue(CHECKS, connection=workplace.queues.redis).jobs
    return [(job.func_name, job.args[0]) for job in jobs].count((Jobs.CHECK_APPROVALS, workplace.project_id))


def accept_from(monkeypatch: pytest.MonkeyPatch, score: float, *, audited: float = 0.0) -> None:
    monkeypatch.setenv("AUTO_ACCEPT", str(score))
    monkeypatch.setenv("AUDIT_SHARE", str(audited))


def promote_again(workplace: Workplace, annotations: dict[str, str] | None = None) -> Version:
    """Makes the champion's weights a version of their own, trained on `annotations`, and promotes it."""
    first = champion_of(workplace)
    second = workplace.registry.add(
        workplace.project_id,
        weights=first.weights,
        classes=first.classes,
        parent=first.name,
        metrics={},
        annotations=annotations or {},
        image_size_px=first.image_size_px,
        origin="training",
    )
    workplace.registry.promote(workplace.project_id, second.name)
    return second


def test_sure_images_are_accepted_and_the_others_say_why_not(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run(workplace)["accepted"] == 0
    scores = {task: predictions(workplace, task)[0]["score"] for task in figures(workplace)}
    between = sorted(scores.values())[-1]
    assert between > min(scores.values())
    # The same again, as a version of its own, with a gate that the surest image passes.
    accept_from(monkeypatch, between)
    second = promote_again(workplace)
    counts = run(workplace)
    passing = [task for task, score in scores.items() if score >= between]
    assert (counts["written"], counts["accepted"]) == (len(SEEDS), len(passing))
    for task in figures(workplace):
        hints = [
            region
            for one in predictions(workplace, task)
            if one["model_version"] == second.name
            for region in one["result"]
            if region["type"] == "textarea"
        ]
        stored = annotations_of(workplace, task)
        if task in passing:
            assert [accepted_by(one) for one in stored] == [second.name] and not hints
            assert all(second.name in region["meta"]["text"][0] for region in stored[0]["result"])
            assert stored[0]["completed_by"] == workplace.label_studio.sdk.users.whoami().id
        else:
            assert not stored
            assert (
                "is least sure of" in hints[0]["value"]["text"][0]
                or "nothing was found" in hints[0]["value"]["text"][0]
            )


def test_an_audited_image_is_served_among_the_others_and_looks_like_them(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(workplace)
    scores = {task: predictions(workplace, task)[0]["score"] for task in figures(workplace)}
    surest = max(scores, key=lambda task: scores[task])
    accept_from(monkeypatch, scores[surest], audited=1.0)
    version = promote_again(workplace).name
    assert run(workplace)["accepted"] == 0
    stored = {
        task: next(one for one in predictions(workplace, task) if one["model_version"] == version) for task in scores
    }
    assert stored[surest]["score"] == min(score for task, score in scores.items() if task != surest)
    for prediction in stored.values():
        (note,) = [region["value"]["text"][0] for region in prediction["result"] if region["type"] == "textarea"]
        empty = len(prediction["result"]) == 1
        assert note.startswith("For review: nothing was found" if empty else "For review: the model is least sure of '")


def test_nothing_is_accepted_twice_nor_over_a_person(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    accept_from(monkeypatch, 0.0)
    workplace.approve(SEEDS[0])
    # As if a worker had died between accepting and writing.
    write = LabelStudio.write_predictions
    monkeypatch.setattr(LabelStudio, "write_predictions", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        run(workplace)
    monkeypatch.setattr(LabelStudio, "write_predictions", write)
    run(workplace)
    run(workplace)
    by = {seed: [accepted_by(one) for one in annotations_of(workplace, workplace.tasks[seed])] for seed in SEEDS}
    assert by[SEEDS[0]] == [None]
    assert by[SEEDS[1]] == by[SEEDS[2]] == [champion_of(workplace).name]
    assert all(len(predictions(workplace, task)) == 1 for task in figures(workplace))


def test_accepted_ones_do_not_count_until_a_person_saves_them_and_can_be_withdrawn(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept_from(monkeypatch, 0.0)
    assert run(workplace)["accepted"] == len(SEEDS)
    assert counts_waiting(workplace) == 1
    assert check_approvals(workplace.project_id)["new"] == 0
    (touched,) = annotations_of(workplace, workplace.tasks[SEEDS[0]])
    sdk = workplace.label_studio.sdk
    sdk.annotations.update(touched["id"], result=touched["result"], lead_time=4.2)
    assert check_approvals(workplace.project_id)["new"] == 1
    monkeypatch.setenv("TRAIN_ON_AUTO_ACCEPTED", "true")
    assert check_approvals(workplace.project_id)["new"] == len(SEEDS)
    project = ["--project", str(workplace.project_id)]
    other = CliRunner().invoke(app, ["withdraw", *project, "--version", "yolo11n-seg-v9-000000"])
    assert "0 annotations" in other.output
    workplace.queues.redis.flushall()
    done = CliRunner().invoke(app, ["withdraw", *project, "--version", champion_of(workplace).name])
    # The webhooks of each may be lost.
    assert counts_waiting(workplace) == 1
    assert "2 annotations" in done.output, done.output
    left = [one["id"] for task in figures(workplace) for one in annotations_of(workplace, task)]
    assert left == [touched["id"]]
    assert all(predictions(workplace, task) for task in figures(workplace))


def test_nothing_is_accepted_that_a_person_skipped(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    accept_from(monkeypatch, 0.0)
    skipped = workplace.tasks[SEEDS[0]]
    workplace.label_studio.sdk.annotations.create(skipped, result=[], was_cancelled=True)
    assert run(workplace)["accepted"] == len(SEEDS) - 1
    assert [one["was_cancelled"] for one in annotations_of(workplace, skipped)] == [True]


def test_a_withdrawal_spares_what_people_are_at(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    accept_from(monkeypatch, 0.0)
    run(workplace)
    studio, version = workplace.label_studio, champion_of(workplace).name
    edited, saved, drafted = (annotations_of(workplace, task)[0] for task in figures(workplace))
    # A script moves a corner, and tells no time that it took.
    first = edited["result"][0]
    moved = {**first, "value": {**first["value"], "points": [[1, 1], [9, 1], [9, 9]]}}
    studio.sdk.annotations.update(edited["id"], result=[moved, *edited["result"][1:]])
    httpx.post(
        f"{Settings().label_studio_url}/api/tasks/{drafted['task']}/annotations/{drafted['id']}/drafts",
        headers={"Authorization": studio.bearer()},
        json={"result": drafted["result"], "lead_time": 3.0},
    ).raise_for_status()
    seen: list[int] = []

    def meanwhile(accepted: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
        seen.extend(number for _, number in accepted)
        studio.sdk.annotations.update(saved["id"], result=saved["result"], lead_time=4.2)
        yield from accepted

    assert withdraw(studio, project_id=workplace.project_id, version=version, tracked=meanwhile) == 0
    assert sorted(seen) == sorted([saved["id"], drafted["id"]])
    left = [one["id"] for task in figures(workplace) for one in annotations_of(workplace, task)]
    assert sorted(left) == sorted([edited["id"], saved["id"], drafted["id"]])
    assert check_approvals(workplace.project_id)["new"] == 2


def test_what_was_accepted_is_no_evidence_of_what_is_right(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept_from(monkeypatch, 0.0)
    run(workplace)
    monkeypatch.setenv("TRAIN_ON_AUTO_ACCEPTED", "true")
    train(workplace.project_id, "test")
    version = champion_of(workplace)
    assert len(version.annotations) == len(SEEDS)
    calibration = read_calibration(version)
    assert calibration is not None and calibration.images == 0
    assert [one.regions for one in calibration.labels] == [0] * len(version.classes)


def test_an_audit_passes_over_what_the_model_has_learnt(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    accept_from(monkeypatch, 0.0, audited=1.0)
    learnt = {str(workplace.approve(seed)): "" for seed in SEEDS[:2]}
    promote_again(workplace, learnt)
    run(workplace)
    check_approvals(workplace.project_id)
    assert Audits(workplace.queues.redis).all() == {}
    workplace.approve(SEEDS[2])
    check_approvals(workplace.project_id)
    assert Audits(workplace.queues.redis).all()[str(workplace.project_id)]["images"] == 1


def test_an_audit_that_finds_too_much_wrong_shuts_the_gate(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept_from(monkeypatch, 0.0, audited=1.0)
    counts = run(workplace)
    assert (counts["written"], counts["accepted"]) == (len(SEEDS), 0)
    # People find something quite different: the next figure's garments.
    for seed, other in zip(SEEDS, (*SEEDS[1:], SEEDS[0]), strict=True):
        workplace.approve(other, task=workplace.tasks[seed])
    check_approvals(workplace.project_id)
    champion = champion_of(workplace)
    reason = switch_off_reason(champion)
    assert reason is not None and "switched off" in reason and "drape withdraw" in reason
    assert any(reason == problem.text for problem in workplace.problems.recent(5))
    assert not gate_of(champion, Settings()).is_open
    status = Service.build(Settings()).status()
    project = str(workplace.project_id)
    assert status["projects"][project]["auto_accept"]["shut_because"] == reason
    audit = status["queues"]["audits"][project]
    assert audit["images"] == len(SEEDS) and audit["wrong"] > 0.5 * audit["regions"] > 1
    assert check_approvals(workplace.project_id)["new"] == len(SEEDS)


def test_a_version_is_audited_after_another_has_replaced_it(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    accept_from(monkeypatch, 0.0, audited=1.0)
    first = champion_of(workplace)
    run(workplace)
    second = promote_again(workplace)
    for seed, other in zip(SEEDS, (*SEEDS[1:], SEEDS[0]), strict=True):
        workplace.approve(other, task=workplace.tasks[seed])
    check_approvals(workplace.project_id)
    assert f"--version {first.name}" in (switch_off_reason(first) or "")
    assert switch_off_reason(second) is None and gate_of(second, Settings()).is_open
    assert Audits(workplace.queues.redis).all()[str(workplace.project_id)]["images"] == len(SEEDS)


def test_an_audit_that_finds_all_right_leaves_it_open(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    accept_from(monkeypatch, 0.0, audited=1.0)
    run(workplace)
    for task in figures(workplace):
        (shown,) = predictions(workplace, task)
        workplace.label_studio.sdk.annotations.create(task, result=shown["result"])
    check_approvals(workplace.project_id)
    assert switch_off_reason(champion_of(workplace)) is None
    assert Audits(workplace.queues.redis).all()[str(workplace.project_id)]["wrong"] == 0


def test_a_training_leaves_thresholds_and_a_runtime_with_its_version(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AUTO_ACCEPT", "calibrated")
    for seed in SEEDS:
        workplace.approve(seed)
    train(workplace.project_id, "test")
    version = champion_of(workplace)
    calibration = read_calibration(version)
    assert calibration is not None
    assert calibration.images >= 1
    # So few images prove nothing.
    assert calibration.thresholds == {} and not gate_of(version, Settings()).is_open
    facts = json.loads(read_text(version, FILE))
    assert {one["label"] for one in facts["labels"]} == set(version.classes)
    assert sum(one["regions"] for one in facts["labels"]) > 0
    record = json.loads((Path(preparation_folder(version)) / RECORD_FILE).read_text())
    assert record["images"] == calibration.images
    assert run(workplace)["accepted"] == 0
