"""A sample of images from all over a project."""

from __future__ import annotations

import logging

from backend.domain import Image
from backend.errors import ImageError
from backend.images.fetch import ImageStore
from backend.images.task_image import load_image
from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.payloads import Task

logger = logging.getLogger(__name__)

# The number of images, and of the runs of neighbouring tasks that they come from: each run is one request.
IMAGES, RUNS = 128, 16


def sample_images(label_studio: LabelStudio, images: ImageStore, *, project_id: int, side_px: int) -> list[Image]:
    """About 128 of the project's images, their longer side at most `side_px`; images that cannot be read are left out.

    Raises:
        LabelStudioError: Label Studio is unreachable.
        LabelConfigError: the project's label config cannot be served.
    """
    config = parse_label_config(label_studio.project(project_id).label_config)
    sample = []
    for task in label_studio.sample_tasks(project_id, count=IMAGES, runs=RUNS):
        try:
            sample.append(load_image(images, Task.model_validate(task), config, side_px=side_px))
        except ImageError as e:
            logger.debug("Left out of the sample: %s", e)
    return sample
