"""The jobs on a real Label Studio and a real Redis."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from rq import Queue

from backend.connections import Connections
from backend.errors import DatasetError
from backend.prelabel.jobs import plan, prelabel
from backend.queues.queues import CHECKS, PRELABEL, TRAIN
from backend.registry.records import has_report, report_path
from backend.registry.scores import read_scores
from backend.registry.verdict import Verdict, read_verdict, write_verdict
from backend.settings import Settings
from backend.status.audits import Audits
from backend.status.gone_projects import GoneProjects
from backend.status.survey import Surveys
from backend.timer import look_after
from tests.backend.status.test_survey import SURVEY
from tests.exported import add_colours
from tests.support import add_starter
from tests.training.conftest import Workplace
from training.annotations.approvals import approved_annotations
from training.data_out.export_data import Selection, export_data
from training.finetuning.finetune import Trained, finetune
from training.jobs import check_approvals, train
from training.judging import Judge
from training.retraining import Retraining

pytestmark = pytest.mark.services


def test_prelabel_writes_once_and_goes_on_past_what_fails(workplace: Workplace) -> None:
    project_id, everything = workplace.project_id, [*workplace.tasks.values(), 999_999]
    champion = workplace.registry.champion(project_id)
    assert champion is not None
    assert prelabel(project_id, champion.name, everything) == {"written": 3, "accepted": 0, "skipped": 0, "failed": 2}
    said = {problem.task_id: problem.text for problem in workplace.problems.recent(10)}
    assert "deleted" in said[999_999]
    assert "broken.jpg" in said[workplace.tasks[-1]]
    assert workplace.label_studio.project(project_id).model_version == champion.name
    assert prelabel(project_id, champion.name, everything)["written"] == 0
    for task in workplace.label_studio.tasks(project_id, list(workplace.tasks.values())):
        assert len(task["predictions"]) == (0 if task["id"] == workplace.tasks[-1] else 1)


def test_counts_follow_label_studio_whatever_the_events_were(workplace: Workplace) -> None:
    project_id = workplace.project_id
    assert check_approvals(project_id) == {"new": 0, "needed": 2}
    first = workplace.approve(1)
    assert check_approvals(project_id)["new"] == 1
    workplace.label_studio.sdk.annotations.delete(first)
    assert check_approvals(project_id)["new"] == 0
    workplace.approve(1)
    workplace.approve(3)
    training = Queue(TRAIN, connection=workplace.queues.redis)
    assert len(training) == 0
    for _ in range(3):
        assert check_approvals(project_id)["new"] == 2
    # However often it is counted, one training waits.
    assert [job.args[0] for job in training.jobs] == [project_id]
    survey = Surveys(workplace.queues.redis).all()[project_id]
    assert (survey.new, survey.needed) == (2, 2)


def test_a_first_training_waits_for_enough_images(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETRAIN_MIN_IMAGES", "3")
    training = Queue(TRAIN, connection=workplace.queues.redis)
    for seed in (1, 3):
        workplace.approve(seed)
    assert check_approvals(workplace.project_id) == {"new": 2, "needed": 3}
    assert len(training) == 0
    workplace.approve(7)
    assert check_approvals(workplace.project_id) == {"new": 3, "needed": 3}
    assert len(training) == 1


def test_an_event_during_a_count_brings_another(workplace: Workplace) -> None:
    queues, project_id = workplace.queues, workplace.project_id
    assert queues.enqueue_check(project_id)
    assert not queues.enqueue_check(project_id)
    queues.begin_check(project_id)
    assert queues.enqueue_check(project_id)


def test_a_training_promotes_and_has_the_rest_predicted_again(workplace: Workplace) -> None:
    project_id = workplace.project_id
    before = workplace.registry.champion(project_id)
    assert before is not None
    workplace.approve(1)
    workplace.approve(3)
    made = train(project_id, "test")
    after = workplace.registry.champion(project_id)
    assert after is not None
    assert (after.name, after.parent, after.origin) == (made["version"], before.name, "training")
    assert len(after.annotations) == 2
    shown = re.findall(rf"/projects/{project_id}/data\?task=(\d+)", report_path(after).read_text())
    assert shown and set(map(int, shown)) <= {workplace.tasks[1], workplace.tasks[3]}
    # What nobody has annotated waits for the new model.
    assert plan(project_id) == {"tasks": 2}
    (job,) = Queue(PRELABEL, connection=workplace.queues.redis).jobs
    assert job.args == (project_id, after.name, sorted([workplace.tasks[7], workplace.tasks[-1]]))
    # What it was trained on is not new any more.
    assert check_approvals(project_id)["new"] == 0


def test_a_model_that_is_no_better_is_kept_and_not_taken(workplace: Workplace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PROMOTE_MARGIN", "1")
    # A size of its own, which the current model does not have; each is evaluated at the size it was trained at.
    monkeypatch.setenv("TRAIN_IMAGE_SIZE_PX", "128")
    # Nor does a report that cannot be written undo the training.
    monkeypatch.setattr("training.report.report.TEMPLATE", "gone.jinja")
    project_id = workplace.project_id
    before = workplace.registry.champion(project_id)
    assert before is not None
    for seed in (1, 3, 7):
        workplace.approve(seed)
    assert check_approvals(project_id)["new"] == 3
    made = train(project_id, "test")
    assert made["promoted"] is False and "not higher" in str(made["reason"])
    assert workplace.registry.champion(project_id) == before
    kept = workplace.registry.versions(project_id)[-1]
    verdict = read_verdict(kept)
    assert kept.name == made["version"] and verdict is not None
    assert (before.image_size_px, kept.image_size_px) == (256, 128)
    assert (verdict.promoted, verdict.champion, verdict.images) == (False, before.name, 1)
    assert 0 <= (verdict.challenger_map or 0.0) <= 1 and 0 < (verdict.champion_map or 0.0) <= 1
    compared = read_scores(kept)
    assert compared is not None and compared.champion is not None
    for scores, judged in ((compared.own, verdict.challenger_map), (compared.champion, verdict.champion_map)):
        assert (scores.images, scores.mask_map) == (1, judged) and 0 < (scores.ms_an_image or 0.0)
    assert 0.5 < (compared.champion.miou or 0.0) <= 1
    assert len(Queue(PRELABEL, connection=workplace.queues.redis)) == 0
    assert not has_report(kept)
    assert any("The report on" in problem.text for problem in workplace.problems.recent(10))
    # The same labels are not tried again; others are.
    assert check_approvals(project_id)["new"] == 0
    workplace.approve(3, task=workplace.tasks[1])
    assert check_approvals(project_id)["new"] == 1


def test_a_setting_that_groups_no_image_is_refused_and_said(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Before any image gets its side, which it keeps; an exported data set has the same sides."""
    monkeypatch.setenv("SPLIT_BY", "field:shot")
    project_id = workplace.project_id
    workplace.approve(1)
    with pytest.raises(DatasetError, match="SPLIT_BY=field:shot"):
        train(project_id, "test")
    assert any("SPLIT_BY=field:shot" in problem.text for problem in workplace.problems.recent(10))
    with pytest.raises(DatasetError, match="SPLIT_BY=field:shot"):
        export_data(
            Connections.of(Settings()),
            project_id,
            folder=tmp_path / "yolo",
            export_format="yolo",
            selection=Selection(),
            soft_edges=True,
            track=lambda approved: approved,
        )


def test_a_training_that_was_cancelled_while_it_waited_is_not_gone_on_with(workplace: Workplace) -> None:
    """Its worker had died, and it waited for another; the next training must not take its old labels."""
    project_id = workplace.project_id
    workplace.approve(1)
    workplace.approve(3)
    connections = Connections.of(Settings().for_project(project_id).for_work("train"))
    Retraining(connections, project_id, report=lambda progress: None)._approved()
    later = workplace.approve(7)
    assert workplace.queues.enqueue_training(project_id, reason="test")
    assert workplace.queues.cancel_training(project_id)
    made = train(project_id, "test")
    assert str(later) in workplace.registry.version(project_id, str(made["version"])).annotations
    assert not workplace.queues.begins_afresh(project_id)


def test_a_deleted_project_is_looked_after_no_more(workplace: Workplace) -> None:
    """Its models are kept; each of its jobs would fail, every ten minutes, and it would stay on the status page."""
    champion, deleted, redis = workplace.registry.champion(workplace.project_id), 999_999, workplace.queues.redis
    assert champion is not None
    add_starter(workplace.registry, deleted, champion.weights)
    for project_id in (workplace.project_id, deleted):
        Surveys(redis).remember(project_id, SURVEY)
        Audits(redis).remember(project_id, version="v", images=1, regions=1, wrong=0)
    assert look_after() == {"projects": 1}
    jobs = Queue(CHECKS, connection=redis).jobs
    assert {job.args[0] for job in jobs} == {workplace.project_id}
    assert GoneProjects(redis).all() == {deleted}
    assert list(Surveys(redis).all()) == [workplace.project_id]
    assert list(Audits(redis).all()) == [str(workplace.project_id)]
    assert workplace.registry.versions(deleted)


@pytest.mark.parametrize(("owner", "moment"), [(Retraining, "_store"), (Judge, "_evaluate")])
def test_a_training_is_judged_against_the_champion_of_the_moment(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch, owner: type, moment: str
) -> None:
    """Somebody rolls back while it runs: that stands, unless the new model is better than what they chose."""
    monkeypatch.setenv("PROMOTE_MARGIN", "1")
    project_id, registry = workplace.project_id, workplace.registry
    first = registry.champion(project_id)
    assert first is not None
    second = add_starter(registry, project_id, first.weights, parent=first.name)
    registry.promote(project_id, second.name)
    step = getattr(owner, moment)

    def then_roll_back(self: Retraining | Judge, *args: Any) -> Any:
        result = step(self, *args)
        registry.promote(project_id, first.name)
        return result

    monkeypatch.setattr(owner, moment, then_roll_back)
    for seed in (1, 3, 7):
        workplace.approve(seed)
    made = train(project_id, "test")
    trained = registry.version(project_id, str(made["version"]))
    verdict = read_verdict(trained)
    assert trained.parent == second.name
    assert verdict is not None and verdict.champion == first.name and first.name in verdict.reason
    assert registry.champion(project_id) == first


def test_a_rollback_after_the_verdict_has_the_training_judged_again(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A promotion would undo what somebody chose after the comparison, which was with another model."""
    project_id, registry = workplace.project_id, workplace.registry
    first = registry.champion(project_id)
    assert first is not None
    second = add_starter(registry, project_id, first.weights, parent=first.name)
    registry.promote(project_id, second.name)
    judge = Judge.judge

    def then_roll_back(self: Judge, *args: Any) -> Any:
        verdict = judge(self, *args)
        registry.promote(project_id, first.name)
        return verdict

    monkeypatch.setattr(Judge, "judge", then_roll_back)
    for seed in (1, 3, 7):
        workplace.approve(seed)
    made = train(project_id, "test")
    verdict = read_verdict(registry.version(project_id, str(made["version"])))
    assert verdict is not None and verdict.promoted and verdict.champion == first.name


def test_a_training_goes_on_from_the_newest_yolo_and_is_judged_by_the_champion_that_is_none(
    workplace: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project_id, registry = workplace.project_id, workplace.registry
    yolo = registry.champion(project_id)
    assert yolo is not None
    # It knows its labels in another order, of which the training must not take notice.
    other = add_colours(registry, project_id, tmp_path, classes=("belt", "saree"), parent=yolo)
    registry.promote(project_id, other.name)
    begun: list[Any] = []

    def spied(*args: Any, **options: Any) -> Trained:
        begun.append(options["initial"])
        return finetune(*args, **options)

    monkeypatch.setattr("training.retraining.finetune", spied)
    for seed in (1, 3, 7):
        workplace.approve(seed)
    assert prelabel(project_id, other.name, [workplace.tasks[7]])["failed"] == 0
    # Nothing was trained on what is approved, whatever the champion learnt elsewhere.
    assert check_approvals(project_id)["new"] == 3
    made = train(project_id, "test")
    trained = registry.version(project_id, str(made["version"]))
    verdict = read_verdict(trained)
    assert begun == [yolo.weights]
    assert (trained.network, trained.parent) == ("yolo", other.name)
    assert trained.classes == tuple(name for name in yolo.classes if name in trained.classes)
    assert verdict is not None and (verdict.promoted, verdict.champion) == (True, other.name)
    compared = read_scores(trained)
    assert compared is not None and compared.champion is not None and compared.champion.ms_an_image is not None
    assert registry.version_before(project_id) == other


def test_a_rollback_stands_though_the_training_that_promoted_is_run_again(
    workplace: Workplace, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its worker died after the promotion, before the training was recorded as done."""
    project_id, registry = workplace.project_id, workplace.registry
    first = registry.champion(project_id)
    assert first is not None
    rmtree = shutil.rmtree

    def die(folder: Path, **options: Any) -> None:
        if "promoted" in {path.name for path in Path(folder).glob("*")}:
            raise KeyboardInterrupt
        rmtree(folder, **options)

    for seed in (1, 3, 7):
        workplace.approve(seed)
    with monkeypatch.context() as patched:
        patched.setattr(shutil, "rmtree", die)
        with pytest.raises(KeyboardInterrupt):
            train(project_id, "test")
    promoted = registry.champion(project_id)
    assert promoted is not None and promoted.parent == first.name
    registry.promote(project_id, first.name)
    made = train(project_id, "test")
    assert made["version"] == promoted.name
    assert registry.champion(project_id) == first


def test_a_training_that_broke_off_has_learnt_nothing(workplace: Workplace) -> None:
    champion = workplace.registry.champion(workplace.project_id)
    assert champion is not None
    workplace.approve(1)
    tasks = workplace.label_studio.annotated_tasks(workplace.project_id)
    approved = {str(one.annotation_id): one.content_hash for one in approved_annotations(tasks)}
    broken_off = workplace.registry.add(
        workplace.project_id,
        weights=champion.weights,
        classes=champion.classes,
        parent=champion.name,
        metrics={},
        annotations=approved,
        image_size_px=256,
        origin="training",
    )
    assert check_approvals(workplace.project_id)["new"] == 1
    write_verdict(broken_off, Verdict(False, "no better", 1))
    assert check_approvals(workplace.project_id)["new"] == 0
