"""The RQ jobs that count approved labels, train on them, and compare students."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from itertools import takewhile
from typing import Any

from backend.auto_accept.gate import gate_of, switch_off
from backend.connections import Connections
from backend.errors import DrapeError, LabelConfigError, LabelStudioUnavailableError, StorageUnavailableError
from backend.label_studio.client import Project
from backend.label_studio.label_config import parse_label_config
from backend.queues.job_function import job_function
from backend.queues.queues import CHECK_RETRY_S
from backend.registry.registry import Version
from backend.registry.verdict import read_verdict
from backend.settings import Settings
from backend.status.audits import Audits
from backend.status.survey import Surveys
from backend.storage.retry import retrying
from training.annotations.approvals import Approved, new_annotations
from training.annotations.count import Count, approval_counter
from training.annotations.survey import take_survey
from training.auto_accept.audit import audit
from training.finetuning.progress import shown_progress
from training.runs import run_folder

logger = logging.getLogger(__name__)


@job_function
def check_approvals(project_id: int) -> dict[str, int]:
    """Counts the project's new approved annotations, and queues a training if there are enough.

    Webhooks about annotations, the timer, `drape up` and the end of a training queue this job.

    Returns:
        `new`: how many approved annotations are new; `needed`: how many start a training.

    Raises:
        LabelStudioError: Label Studio stayed unreachable for `CHECK_RETRY_S`, or refused the request.
        QueueError: Redis does not answer.
    """
    connections = Connections.of(Settings().for_project(project_id))
    # Cleared before Label Studio is asked: an annotation that is approved during this count then queues another count.
    connections.queues.begin_check(project_id)
    for attempt in retrying(timeout_s=CHECK_RETRY_S):
        with attempt:
            counts = _check(connections, project_id)
    return counts


@job_function
def train(project_id: int, reason: str) -> dict[str, object]:
    """Fine-tunes on all approved annotations, stores the version and, if it is better, promotes it and pre-annotates.

    The champion stays unchanged until the new version is complete on disk. While Label Studio or the storage is
    unreachable, the job retries. A job that was killed resumes where it stopped when it runs again.

    Raises:
        DatasetError: no approved annotation can be trained on.
        LabelStudioError, ModelError, QueueError: Label Studio, a model or Redis failed.
    """
    # Not at the top: it imports PyTorch, half a gigabyte that the worker of counts does not need.
    from training.retraining import Retraining

    connections = Connections.of(Settings().for_project(project_id).for_work("train"))
    logger.info("Training for project %s: %s", project_id, reason)
    if connections.queues.begins_afresh(project_id):
        shutil.rmtree(run_folder(connections.settings, project_id), ignore_errors=True)
    try:
        with shown_progress(f"Training, project {project_id}") as report:
            for attempt in retrying():
                with attempt:
                    version, verdict, dataset = Retraining(connections, project_id, report=report).run()
    except DrapeError as e:
        connections.problems.report(f"The training did not finish: {e}", project_id=project_id)
        if not isinstance(e, LabelStudioUnavailableError | StorageUnavailableError):
            shutil.rmtree(run_folder(connections.settings, project_id), ignore_errors=True)
        raise
    # Annotations that were approved during this training count for the next one.
    connections.queues.enqueue_check(project_id)
    decision = "now uses" if verdict.promoted else "does not use"
    logger.info("Project %s %s %s: %s", project_id, decision, version.name, verdict.reason)
    return {
        "version": version.name,
        "promoted": verdict.promoted,
        "reason": verdict.reason,
        "metrics": version.metrics,
        "images": len(dataset.manifest.entries),
    }


@job_function
def compare_student(project_id: int, student: str, students: Sequence[str], options: dict[str, Any]) -> None:
    """Trains and judges one student of a comparison, and writes the page of all that are judged so far.

    A job that was killed resumes the student's training when it runs again.

    Args:
        students: all students of the comparison, in order.
        options: the fields of `training.students.project.Options`.

    Raises:
        DatasetError: there are too few approved annotations.
        LabelStudioError, ModelError, StorageError, ReportError: Label Studio, the student or the disk failed.
    """
    from training.students.project import Options, compare_in_project

    connections = Connections.of(Settings().for_project(project_id).for_work("train"))
    with shown_progress(f"{student}, project {project_id}") as report:
        for attempt in retrying():
            with attempt:
                compare_in_project(connections, project_id, student, students, Options(**options), report=report)


def _check(connections: Connections, project_id: int) -> dict[str, int]:
    project = connections.label_studio.project(project_id)
    count = approval_counter(connections, project_id).update()
    approved = count.approved
    _audit(connections, project, approved)
    new = new_annotations(approved, _trained_annotations(connections, project_id))
    needed = max(
        project.min_annotations or connections.settings.retrain_after,
        connections.settings.retrain_min_images - (len(approved) - len(new)),
    )
    logger.info("Project %s has %s of %s new approved annotations", project_id, len(new), needed)
    if len(new) >= needed:
        connections.queues.enqueue_training(project_id, reason=f"{len(new)} new approved annotations")
    _survey(connections, project, count, new=len(new), needed=needed)
    return {"new": len(new), "needed": needed}


def _survey(connections: Connections, project: Project, count: Count, *, new: int, needed: int) -> None:
    """Stores the project's survey in Redis; a failure is reported, and the count of approvals stays valid."""
    try:
        survey = take_survey(connections.settings, connections.label_studio, project, count, new=new, needed=needed)
        Surveys(connections.queues.redis).remember(project.id, survey)
    except (DrapeError, OSError, ValueError, TypeError, LookupError, AttributeError) as e:
        # Other programs may have stored regions of any form, which fail in any of these ways.
        connections.problems.report(
            f"The project's figures could not be updated; older ones are shown: {e}", project_id=project.id
        )


def _audit(connections: Connections, project: Project, approved: Sequence[Approved]) -> None:
    """Audits the champion and its predecessors; switches auto-accept off for those that break the promise."""
    settings, project_id = connections.settings, project.id
    versions = _open_versions(connections, project_id)
    gates = [gate_of(version, settings) for version in versions]
    audited = [one for one in approved if one.by_person and any(gate.is_audited(one.task_id) for gate in gates)]
    # Annotations that a version was trained on are no evidence of its precision on new images.
    unseen = {
        one.task_id: {version.name for version in versions if str(one.annotation_id) not in version.annotations}
        for one in audited
    }
    wanted = [task_id for task_id, names in unseen.items() if names]
    if not wanted:
        return
    try:
        config = parse_label_config(project.label_config)
    except LabelConfigError as e:
        connections.problems.report(f"The audits of auto-accept cannot be read: {e}", project_id=project_id)
        return
    predictions = {
        int(task["id"]): {
            str(prediction["model_version"]): prediction["result"]
            for prediction in task.get("predictions") or []
            if prediction.get("model_version") in unseen[int(task["id"])]
        }
        for task in connections.label_studio.tasks(project_id, wanted)
    }
    result = audit(
        audited,
        predictions,
        gates[::-1],
        config,
        precision=settings.auto_accept_precision,
        iou=settings.auto_accept_iou,
    )
    if not result.images:
        return
    Audits(connections.queues.redis).remember(
        project_id, version=versions[0].name, images=len(result.images), regions=result.regions, wrong=result.wrong
    )
    names = result.breach([version.name for version in versions])
    for version in versions:
        if version.name in names:
            reason = (
                f"Auto-accept is switched off for {version.name}: {result.of(names).summary}, more than the promised "
                f"{100 * (1 - result.precision):.0f} %. What it has accepted can be withdrawn: "
                f"drape withdraw --project {project_id} --version {version.name}"
            )
            switch_off(version, reason)
            connections.problems.report(reason, project_id=project_id)


def _open_versions(connections: Connections, project_id: int) -> list[Version]:
    """Returns the champion and the champions before it, newest first, as far back as each has an open gate.

    A version is audited for longer than it is the champion: its audits are approved in their own time.
    """
    line = connections.registry.line_of(connections.registry.champion(project_id))
    return list(takewhile(lambda version: gate_of(version, connections.settings).is_open, line))


def _trained_annotations(connections: Connections, project_id: int) -> dict[str, str]:
    """Returns the annotations that the latest version was trained on: annotation id → content hash.

    The version counts even if it was not promoted, so that no training repeats the same labels. Of versions
    without a verdict only the champion counts: the training of any other broke off before its verdict. One of a
    comparison does not count, as trainings have not learnt its labels.
    """
    champion = connections.registry.champion(project_id)
    for version in reversed(connections.registry.versions(project_id)):
        if version.origin == "comparison":
            continue
        if version == champion or read_verdict(version) is not None:
            return version.annotations
    return {}
