"""Draws photographs with the true garment, the answers to one click and to three, and a detector's refined mask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from matplotlib.figure import Figure

from backend.detector.sam_detectors import RefinedDetector
from backend.detector.yolo11 import ImageDetector
from backend.domain import Mask, Photo, Pixels, Point, Prompt
from backend.segmenters.base import Segmenter
from backend.storage.atomic_files import replacing
from training.evaluation.held_out import HeldOut
from training.metrics.interactive import iou, next_click

TINT, TINT_SHARE, OUTLINE_PX = np.array([20, 200, 90]), 0.45, 3
POSITIVE, NEGATIVE = (255, 255, 255), (230, 40, 40)
CLICK_RADIUS_PX = 7


@dataclass(frozen=True)
class Panel:
    """One picture of a row: a mask over a photograph, the clicks that it answers, and its title."""

    title: str
    image: Photo
    mask: Mask
    points: tuple[Point, ...] = ()

    def drawn(self) -> Pixels:
        """Returns the photograph with the mask tinted and outlined, and the clicks as discs, `uint8 (H, W, 3)`."""
        pixels = self.image.pixels.copy()
        pixels[self.mask] = (1 - TINT_SHARE) * pixels[self.mask] + TINT_SHARE * TINT
        outlines, _ = cv2.findContours(self.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        cv2.drawContours(pixels, outlines, -1, TINT.tolist(), OUTLINE_PX)
        for point in self.points:
            centre, colour = (int(point.x), int(point.y)), POSITIVE if point.positive else NEGATIVE
            cv2.circle(pixels, centre, CLICK_RADIUS_PX + 2, (0, 0, 0), cv2.FILLED)
            cv2.circle(pixels, centre, CLICK_RADIUS_PX, colour, cv2.FILLED)
        return pixels


def draw_answers(
    photographs: Sequence[HeldOut], segmenter: Segmenter, detector: ImageDetector, path: Path, *, min_score: float
) -> None:
    """Writes a PNG with a row for a garment of each photograph, in turn its largest, second largest and so on."""
    rows = []
    for number, photograph in enumerate(photographs):
        garments = sorted(photograph.truth, key=lambda garment: -int(garment.mask.sum()))
        if garments:
            garment = garments[number % len(garments)]
            detected = _detected(photograph.image, garment.mask, segmenter, detector, min_score=min_score)
            clicked = _clicked(photograph.image, garment.mask, segmenter)
            rows.append([Panel(f"truth: {garment.label}", photograph.image, garment.mask), *clicked, *detected])
    figure = Figure(figsize=(10, 3.2 * len(rows)), layout="constrained")
    grid = figure.subplots(len(rows), 5, squeeze=False)
    for row, panels in zip(grid, rows, strict=True):
        for axes, panel in zip(row, panels, strict=True):
            axes.imshow(panel.drawn())
            axes.set_title(panel.title, fontsize=8)
            axes.set_axis_off()
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", dpi=80)


def _clicked(image: Photo, truth: Mask, segmenter: Segmenter) -> Iterator[Panel]:
    points: tuple[Point, ...] = ()
    mask = np.zeros_like(truth)
    for number in (1, 2, 3):
        if not np.array_equal(mask, truth):
            points += (next_click(truth, mask),)
            segments = segmenter.segment(image, Prompt(points))
            mask = segments[0].mask if segments else np.zeros_like(truth)
        if number != 2:
            yield Panel(f"{number} click{'s' if number > 1 else ''}: IoU {iou(mask, truth):.2f}", image, mask, points)


def _detected(
    image: Photo, truth: Mask, segmenter: Segmenter, detector: ImageDetector, *, min_score: float
) -> Iterator[Panel]:
    for title, one in (("detector", detector), ("refined", RefinedDetector(detector, segmenter))):
        (scene,) = one.detect([image], min_score=min_score)
        masks = [detection.mask for detection in scene.detections]
        best = max(masks, key=lambda mask: iou(mask, truth), default=np.zeros_like(truth))
        yield Panel(f"{title}: IoU {iou(best, truth):.2f}", image, best)
