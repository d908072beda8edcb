"""The RQ job that encodes images before an annotator opens them, and fills the disk tier of the embedding cache."""

from __future__ import annotations

import logging
from collections.abc import Sequence

from rq import get_current_job

from backend.connections import Connections
from backend.errors import ImageError, ModelError
from backend.images.fetch import ImageStore
from backend.images.task_image import open_image
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.payloads import Task
from backend.segmenters.base import ImageEncoder
from backend.segmenters.loader import choose
from backend.settings import Settings
from backend.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)


def embed(project_id: int, task_ids: Sequence[int]) -> dict[str, int]:
    """Encodes the tasks' images; skips images whose embedding is cached, so that the job can be run again.

    An image that cannot be read is reported, and does not stop the rest.

    Returns:
        Counts of tasks: `done` (in this run or before) and `failed`.

    Raises:
        ModelError: the segmenter does not load, or encodes no images.
        LabelStudioError: Label Studio does not answer.
    """
    settings = Settings().for_work("batch")
    segmenter = choose(settings, Metrics())
    if not isinstance(segmenter, ImageEncoder):
        raise ModelError(f"The segmenter '{segmenter.name}' encodes no images: set SAM3_WEIGHTS or SAM_WEIGHTS.")
    connections = Connections.of(settings)
    label_studio, problems = connections.label_studio, connections.problems
    config = parse_label_config(label_studio.project(project_id).label_config)
    images = ImageStore(settings, bearer=label_studio.bearer)
    counts = {"done": 0, "failed": 0}
    for task in label_studio.tasks(project_id, task_ids):
        try:
            segmenter.prepare(open_image(images, Task.model_validate(task), config))
            counts["done"] += 1
        except ImageError as e:
            problems.report(str(e), project_id=project_id, task_id=int(task["id"]))
            counts["failed"] += 1
        job = get_current_job()
        if job is not None:
            job.meta.update(counts, total=len(task_ids))
            job.save_meta()
    segmenter.finish()
    return counts
