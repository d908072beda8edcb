"""What a new model is verified and calibrated on: approved images that it was not trained on, as it will see them."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np

from backend.auto_accept.calibration import Calibration
from backend.detector.yolo11 import Detector
from backend.domain import Image, LabelledMask, Mask
from backend.errors import ImageError
from backend.images.fetch import ImageStore
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.payloads import Task
from backend.predict.interactive import load_image
from backend.regions.selection import garments
from backend.settings import Settings
from training.annotations.approvals import Approved
from training.annotations.truth import truth_of
from training.auto_accept.calibrate import Judged, calibrate, judge

logger = logging.getLogger(__name__)

TIMED_IMAGES = 48


@dataclass(frozen=True)
class HeldOut:
    """An image no larger than the detector sees it, and what a person approved in it, at the image's size."""

    task_id: int
    annotation_id: int
    image: Image
    truth: tuple[LabelledMask, ...]


def held_out_images(
    approved: Sequence[Approved], config: LabelConfig, images: ImageStore, *, side_px: int
) -> Iterator[HeldOut]:
    """The images that can be read, one at a time; the others are passed over, as they were in the data set.

    Raises:
        LabelStudioError: Label Studio, which keeps the images, is away.
    """
    for one in approved:
        try:
            image = load_image(images, Task(id=one.task_id, data=one.data), config, side_px=side_px)
        except ImageError as e:
            logger.warning("Held-out task %s is passed over: %s", one.task_id, e)
            continue
        garments = truth_of(one.result, config).garments
        truth = [replace(garment, mask=fitted(garment.mask, image.size_wh)) for garment in garments]
        yield HeldOut(one.task_id, one.annotation_id, image, tuple(mask for mask in truth if mask.mask.any()))


def calibration_on(
    held_out: Sequence[HeldOut], detector: Detector, config: LabelConfig, settings: Settings
) -> Calibration:
    """From which scores on the detector's regions may be accepted, see `calibrating`."""
    judged: list[Judged] = []
    scenes = detector.detect((one.image for one in held_out), min_score=settings.model_score_threshold)
    for number, (one, scene) in enumerate(zip(held_out, scenes, strict=True)):
        found = garments(
            scene.detections, config, default_threshold=settings.model_score_threshold, most=settings.max_regions
        )
        judged += judge(number, found, one.truth, iou=settings.auto_accept_iou)
    lowest = {label: config.threshold_for(label, settings.model_score_threshold) for label in config.label_values}
    return calibrate(
        judged, lowest, images=len(held_out), precision=settings.auto_accept_precision, iou=settings.auto_accept_iou
    )


def detection_ms(held_out: Sequence[HeldOut], detector: Detector, *, min_score: float) -> float | None:
    """Milliseconds an image, when up to `TIMED_IMAGES` are detected in a row; None where there is no image.

    Args:
        min_score: confidence in `[0, 1]` from which on finds count, as in use: each costs the drawing of a mask.
    """
    images = [one.image for one in held_out[:TIMED_IMAGES]]
    if not images:
        return None
    # Runtimes compile and reserve memory at the first images.
    list(detector.detect(images[:1], min_score=min_score))
    started = time.perf_counter()
    list(detector.detect(images, min_score=min_score))
    return 1000 * (time.perf_counter() - started) / len(images)


def fitted(mask: Mask, size_wh: tuple[int, int]) -> Mask:
    """The mask at another size of its image: a pixel belongs to it that is covered by half."""
    if mask.shape[::-1] == size_wh:
        return mask
    return cv2.resize(mask.view(np.uint8) * 255, size_wh, interpolation=cv2.INTER_AREA) > 127
