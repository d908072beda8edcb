"""The RQ job that encodes images before an annotator opens them, and fills the disk tier of the embedding cache."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from backend.errors import ImageError, ModelError
from backend.images.task_image import open_image
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.payloads import Task
from backend.prelabel.worker_models import worker_models
from backend.queues.job_function import job_function
from backend.segmenters.base import ImageEncoder
from backend.settings import Settings

logger = logging.getLogger(__name__)


@job_function
def embed(project_id: int, task_ids: Sequence[int]) -> dict[str, int]:
    """Encodes the tasks' images; skips images whose embedding is cached, so that the job can be run again.

    An image that cannot be read is reported, and does not stop the rest.

    Returns:
        Counts of tasks: `done` (in this run or before) and `failed`.

    Raises:
        ModelError: the segmenter does not load, or encodes no images.
        LabelStudioError: Label Studio does not answer.
    """
    models = worker_models(Settings())
    connections = models.connections
    backlog = connections.queues.encoding(project_id)
    # First of all, so that the other tasks are worked on even if this job fails.
    backlog.queue_next()
    segmenter = models.batch.segmenter()
    if not isinstance(segmenter, ImageEncoder):
        # The project's other tasks would fail in the same way.
        backlog.drop()
        raise ModelError(f"The segmenter '{segmenter.name}' encodes no images: set SAM3_WEIGHTS or SAM_WEIGHTS.")
    label_studio, images = connections.label_studio, models.batch.images
    config = parse_label_config(label_studio.project(project_id).label_config)
    counts = {"done": 0, "failed": 0}
    for task in label_studio.tasks(project_id, task_ids):
        try:
            segmenter.prepare(open_image(images, Task.model_validate(task), config))
            counts["done"] += 1
        except ImageError as e:
            connections.problems.report(str(e), project_id=project_id, task_id=int(task["id"]))
            counts["failed"] += 1
    segmenter.finish()
    backlog.count(**counts)
    return counts
