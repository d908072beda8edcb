"""The RQ jobs: count the approved labels; train, store, promote, and have the rest pre-annotated again."""

from __future__ import annotations

import logging
import shutil
from dataclasses import asdict, dataclass

from rq import get_current_job

from backend.domain import Image
from backend.errors import DrapeError
from backend.images import ImageStore
from backend.label_config import parse_label_config
from backend.labelstudio import LabelStudio
from backend.pipeline import load_image
from backend.problems import Problems
from backend.queues import Queues
from backend.registry import Registry
from backend.settings import Settings
from backend.wire import Task
from training.approvals import Approved, approved_annotations, new_annotations
from training.dataset import build_dataset
from training.finetune import Progress, finetune

logger = logging.getLogger(__name__)


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
    needed = project.min_annotations or parts.settings.retrain_after
    new = new_annotations(_approved(parts, project_id), _learnt(parts, project_id))
    parts.queues.remember_count(project_id, new=len(new), needed=needed)
    logger.info("Project %s has %s of %s new approved annotations", project_id, len(new), needed)
    if len(new) >= needed:
        parts.queues.enqueue_training(project_id, reason=f"{len(new)} new approved annotations")
    return {"new": len(new), "needed": needed}


def train(project_id: int, reason: str) -> dict[str, object]:
    """Fine-tunes on all approved annotations, stores the version, makes it current, pre-annotates the rest again.

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
    registry.promote(project_id, version.name)
    shutil.rmtree(work, ignore_errors=True)
    parts.queues.enqueue_plan(project_id)
    # What was approved while this ran counts for the next training.
    parts.queues.enqueue_check(project_id)
    logger.info("Project %s now works with %s: %s", project_id, version.name, version.metrics)
    return {"version": version.name, "metrics": version.metrics, "images": dataset.train_images + dataset.val_images}


def _approved(parts: _Parts, project_id: int) -> list[Approved]:
    return approved_annotations(parts.label_studio.annotated_tasks(project_id))


def _learnt(parts: _Parts, project_id: int) -> dict[str, str]:
    champion = parts.registry.champion(project_id)
    return champion.annotations if champion else {}


def _show_progress(progress: Progress) -> None:
    logger.info(
        "Epoch %s of %s, %s, %.0f s left", progress.epoch, progress.epochs, progress.metrics, progress.seconds_left
    )
    job = get_current_job()
    if job is not None:
        job.meta.update(asdict(progress))
        job.save_meta()
