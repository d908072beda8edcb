"""The RQ jobs: count the approved labels; train, store, promote, and have the rest pre-annotated again."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rq import get_current_job

from backend.calibration import write_calibration
from backend.detector import Detector
from backend.detectors import load_detector
from backend.devices import pick_device
from backend.domain import Image, Scene
from backend.errors import DrapeError, ModelError
from backend.gate import gate_of, switch_off
from backend.images import ImageStore
from backend.label_config import LabelConfig, parse_label_config
from backend.labelstudio import LabelStudio
from backend.pipeline import load_image
from backend.preparing import VERIFIED_IMAGES, prepare
from backend.problems import Problems
from backend.queues import Queues
from backend.registry import Registry, Version
from backend.sample import sample_images
from backend.settings import Settings
from backend.verdict import Verdict, read_verdict, write_verdict
from backend.wire import Task
from training.approvals import Approved, approved_annotations, new_annotations, rule_of
from training.audit import audit
from training.dataset import Dataset, build_dataset
from training.finetune import Progress, finetune
from training.held_out import HeldOut, calibration_on, held_out_images
from training.judging import verdict_on

logger = logging.getLogger(__name__)

# Average precision counts all that a model finds, the surest first; below this nothing changes it any more.
JUDGED_FROM = 0.01


@dataclass(frozen=True)
class _Parts:
    """What the jobs work with, from the worker's own settings."""

    settings: Settings
    label_studio: LabelStudio
    registry: Registry
    queues: Queues
    problems: Problems


def _parts() -> _Parts:
    settings = Settings()
    queues = Queues(settings)
    return _Parts(settings, LabelStudio(settings), Registry(settings.models_path), queues, Problems(queues.redis))


def check_approvals(project_id: int) -> dict[str, int]:
    """Counts the project's new approved annotations, and queues a training when they are enough.

    Returns:
        `new` approved annotations, and `needed` of them for a training.

    Raises:
        LabelStudioError: Label Studio, which alone knows, is away.
        QueueError: Redis is away.
    """
    parts = _parts()
    # Before Label Studio is asked: what is approved during the count then brings a count of its own.
    parts.queues.begin_check(project_id)
    project = parts.label_studio.project(project_id)
    approved = _approved(parts, project_id)
    _audit(parts, project_id, approved)
    new = new_annotations(approved, _learnt(parts, project_id))
    needed = max(
        project.min_annotations or parts.settings.retrain_after,
        parts.settings.retrain_min_images - (len(approved) - len(new)),
    )
    parts.queues.remember_count(project_id, new=len(new), needed=needed)
    logger.info("Project %s has %s of %s new approved annotations", project_id, len(new), needed)
    if len(new) >= needed:
        parts.queues.enqueue_training(project_id, reason=f"{len(new)} new approved annotations")
    return {"new": len(new), "needed": needed}


def train(project_id: int, reason: str) -> dict[str, object]:
    """Fine-tunes on all approved annotations and stores the version; where it is better, has it pre-annotate the rest.

    The champion stays as it is until the new version is whole on disk.

    Raises:
        DatasetError: nothing that was approved can be trained on.
        LabelStudioError, ModelError, QueueError: as their names say.
    """
    parts = _parts()
    logger.info("Training for project %s: %s", project_id, reason)
    try:
        return _train(parts, project_id)
    except DrapeError as e:
        parts.problems.report(f"The training did not finish: {e}", project_id=project_id)
        raise


def _train(parts: _Parts, project_id: int) -> dict[str, object]:
    settings, registry = parts.settings, parts.registry
    config = parse_label_config(parts.label_studio.project(project_id).label_config)
    images = ImageStore(settings, bearer=parts.label_studio.bearer)

    def load(one: Approved) -> Image:
        return load_image(images, Task(id=one.task_id, data=one.data), config)

    champion = registry.champion(project_id)
    image_size_px = champion.image_size_px if champion else settings.train_image_size_px
    work = settings.data_dir / "training" / str(project_id)
    dataset = build_dataset(_approved(parts, project_id), config, folder=work / "dataset", load=load)
    for sentence in dataset.left_out:
        parts.problems.report(f"Left out of training: {sentence}", project_id=project_id)
    trained = finetune(
        dataset, initial=champion.weights if champion else None, image_size_px=image_size_px, settings=settings,
        folder=work / "run", report=_show_progress,
    )  # fmt: skip
    version = registry.add(
        project_id, weights=trained.weights, classes=dataset.classes, parent=champion.name if champion else None,
        metrics=trained.metrics, annotations=dataset.learnt, image_size_px=image_size_px, origin="training",
    )  # fmt: skip
    held_out, detector = _make_ready(parts, version, dataset, config, images)
    verdict = _judge(parts, detector, champion, held_out, project_id)
    if verdict.promoted:
        registry.promote(project_id, version.name)
        parts.queues.enqueue_plan(project_id)
    write_verdict(version, verdict)
    shutil.rmtree(work, ignore_errors=True)
    # What was approved while this ran counts for the next training.
    parts.queues.enqueue_check(project_id)
    kept = "now works with" if verdict.promoted else "does not work with"
    logger.info("Project %s %s %s: %s", project_id, kept, version.name, verdict.reason)
    return {
        "version": version.name, "promoted": verdict.promoted, "reason": verdict.reason, "metrics": version.metrics,
        "images": dataset.train_images + dataset.val_images,
    }  # fmt: skip


def _judge(
    parts: _Parts, challenger: Detector, champion: Version | None, held_out: Sequence[HeldOut], project_id: int
) -> Verdict:
    """Has both find what is in the images that neither is trained on."""
    settings = parts.settings
    by_champion = None
    if champion is not None:
        try:
            loaded = load_detector(champion, device=pick_device(settings.device))
            by_champion = _see(loaded.detector, held_out)
        except ModelError as e:
            parts.problems.report(f"{champion.name} is not compared with the new model: {e}", project_id=project_id)
    return verdict_on(
        [one.truth for one in held_out], _see(challenger, held_out), by_champion,
        champion_name=champion.name if champion else None,
        margin=settings.promote_margin, most_lost=settings.promote_class_drop,
    )  # fmt: skip


def _see(detector: Detector, held_out: Sequence[HeldOut]) -> list[Scene]:
    return list(detector.detect((one.image for one in held_out), min_score=JUDGED_FROM))


def _make_ready(
    parts: _Parts, version: Version, dataset: Dataset, config: LabelConfig, images: ImageStore
) -> tuple[list[HeldOut], Detector]:
    """Finds the version's fastest runtime, clusters and thresholds, on images that it was not trained on: these."""
    settings, side_px = parts.settings, version.image_size_px
    device = pick_device(settings.device)
    by_people = [one for one in dataset.held_out if one.by_person]
    held_out = list(held_out_images(by_people, config, images, side_px=side_px))
    verified = held_out[:VERIFIED_IMAGES]
    sample = sample_images(parts.label_studio, images, project_id=version.project_id, side_px=side_px)
    prepare(
        version, [*(one.image for one in verified), *sample],
        truth=[one.truth for one in verified] or None, device=device,
    )  # fmt: skip
    detector = load_detector(version, device=device).detector
    calibration = calibration_on(held_out, detector, config, settings)
    write_calibration(version, calibration)
    logger.info(
        "On %s held-out images %.0f %% would be accepted; thresholds: %s",
        calibration.images, 100 * calibration.images_accepted, calibration.thresholds,
    )  # fmt: skip
    return held_out, detector


def _audit(parts: _Parts, project_id: int, approved: list[Approved]) -> None:
    """Looks at what people approved where they were asked by chance; shuts the gate where the promise is broken."""
    settings, version = parts.settings, parts.registry.champion(project_id)
    if version is None:
        return
    gate = gate_of(version, settings)
    # What it has learnt from says nothing of what it finds elsewhere.
    fresh = [one for one in approved if one.by_person and str(one.annotation_id) not in version.annotations]
    chosen = [one for one in fresh if gate.is_audited(one.task_id)]
    if not gate.is_open or not chosen:
        return
    tasks = parts.label_studio.tasks(project_id, [one.task_id for one in chosen])
    predictions = {
        int(task["id"]): prediction["result"]
        for task in tasks
        for prediction in task.get("predictions") or []
        if prediction.get("model_version") == version.name
    }
    found = audit(chosen, predictions, gate, precision=settings.auto_accept_precision, iou=settings.auto_accept_iou)
    parts.queues.remember_audit(
        project_id, version=version.name, images=found.images, regions=found.regions, wrong=found.wrong
    )
    if found.breaks_promise:
        reason = (
            f"Auto-accept is switched off for {version.name}: {found.said}, more than the promised "
            f"{100 * (1 - found.precision):.0f} %. What it has accepted can be withdrawn: "
            f"drape withdraw --project {project_id} --version {version.name}"
        )
        switch_off(version, reason)
        parts.problems.report(reason, project_id=project_id)


def _approved(parts: _Parts, project_id: int) -> list[Approved]:
    tasks = parts.label_studio.annotated_tasks(project_id)
    settings = parts.settings
    return approved_annotations(tasks, rule=rule_of(settings), with_auto_accepted=settings.train_on_auto_accepted)


def _learnt(parts: _Parts, project_id: int) -> dict[str, str]:
    """What the latest model was trained on, whether it was promoted or not: the same labels are not tried twice.

    One that a training left without a verdict, when it broke off, does not count.
    """
    champion = parts.registry.champion(project_id)
    for version in reversed(parts.registry.versions(project_id)):
        if version == champion or read_verdict(version) is not None:
            return version.annotations
    return {}


def _show_progress(progress: Progress) -> None:
    logger.info(
        "Epoch %s of %s, %s, %.0f s left", progress.epoch, progress.epochs, progress.metrics, progress.seconds_left
    )
    job = get_current_job()
    if job is not None:
        job.meta.update(asdict(progress))
        job.save_meta()
