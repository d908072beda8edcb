"""Measures into how many parts detected masks fall, and what leaving out the small ones does to their accuracy."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from backend.detector.runtimes.network import load_network
from backend.detector.runtimes.torch_runtime import TorchRuntime
from backend.detector.yolo11 import letterbox, read_outputs
from backend.domain import Detection, LabelledMask, Mask, Outlining
from backend.errors import DatasetError
from backend.regions.polygons import mask_to_outlines
from training.evaluation.held_out import HeldOut
from training.metrics.interactive import iou

SHARES = (0.0, 0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 1.0)
# A detection that overlaps less with every garment of its label is another fault than its parts.
FOUND_IOU = 0.3


@dataclass(frozen=True)
class Parts:
    """Polygons of the detections that find a garment, and their IoU with it, for one `crumb_share`.

    Attributes:
        polygons: how many regions each detection becomes: mean, median, 95th percentile and largest number.
        iou: mean IoU of the mask with the garment, in `[0, 1]`.
        lower, higher: share of the detections whose IoU is lower, or higher, than with all their parts.
    """

    crumb_share: float
    polygons: tuple[float, float, float, float]
    iou: float
    lower: float
    higher: float
    detections: int


def measure_parts(
    weights: Path, photographs: Sequence[HeldOut], *, image_size_px: int, min_score: float
) -> Iterator[Parts]:
    """Yields the parts for each of `SHARES`, of the same detections.

    Args:
        image_size_px: the longer side at which the detector sees the photographs.
        min_score: confidence in `[0, 1]` from which detections are shown to people.

    Raises:
        ModelError: the weights do not load.
        DatasetError: the detector finds no garment.
    """
    network, classes = load_network(weights)
    runtime = TorchRuntime(network, device="cpu")
    boxed = [letterbox(photograph.image.pixels, side_px=image_size_px) for photograph in photographs]
    polygons: dict[float, list[int]] = {share: [] for share in SHARES}
    overlaps: dict[float, list[float]] = {share: [] for share in SHARES}
    outputs = runtime.infer(one.pixels for one in boxed)
    for photograph, box, output in zip(photographs, boxed, outputs, strict=True):
        read = partial(read_outputs, output, box, classes, size_wh=photograph.image.size_wh, min_score=min_score)
        whole = read(crumb_share=0.0)
        garments = [_garment_of(detection, photograph.truth) for detection in whole]
        for share in SHARES:
            for detection, garment in zip(read(crumb_share=share), garments, strict=True):
                if garment is not None:
                    polygons[share].append(len(mask_to_outlines(detection.mask, Outlining())))
                    overlaps[share].append(iou(detection.mask, garment))
    if not overlaps[0.0]:
        raise DatasetError(f"{weights} finds none of the garments in the photographs that judge.")
    for share in SHARES:
        counts, change = np.array(polygons[share]), np.array(overlaps[share]) - np.array(overlaps[0.0])
        yield Parts(
            share,
            (counts.mean(), np.median(counts), np.percentile(counts, 95), counts.max()),
            float(np.mean(overlaps[share])),
            float((change < 0).mean()),
            float((change > 0).mean()),
            len(counts),
        )


def _garment_of(detection: Detection, truth: Sequence[LabelledMask]) -> Mask | None:
    """Returns the garment of the detection's label that it overlaps most; None where that is too little."""
    masks = [garment.mask for garment in truth if garment.label == detection.class_name]
    best = max(masks, key=lambda mask: iou(detection.mask, mask), default=None)
    return best if best is not None and iou(detection.mask, best) >= FOUND_IOU else None
