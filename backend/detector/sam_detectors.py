"""Detectors that use the segmenter: SAM 3 finds labels by words before there is a model, or masks are redrawn."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

import cv2
import numpy as np

from backend.detector.yolo11 import ImageDetector
from backend.domain import Box, Detection, Mask, Photo, Prompt, Scene
from backend.label_studio.label_config import LabelConfig
from backend.segmenters.base import MaskRefiner, Segmenter, WordReader


class WordsDetector:
    """Looks for each label's phrase in each image, to pre-annotate a project that has no model of its own yet."""

    def __init__(self, reader: WordReader, config: LabelConfig) -> None:
        self._reader = reader
        # If several labels have the same phrase, the first label gets its garments.
        self._labels = {label.phrase: label.value for label in reversed(config.labels) if not config.skips(label.value)}

    def detect(self, images: Iterable[Photo], *, min_score: float) -> Iterator[Scene]:
        """See `ImageDetector.detect`."""
        for image in images:
            segments = self._reader.find_words(image, list(self._labels), min_score=min_score)
            detections = [Detection(segment.mask, self._labels[segment.words], segment.score) for segment in segments]
            yield Scene(tuple(sorted(detections, key=lambda detection: -detection.score)))


class RefinedDetector:
    """A detector whose masks a segmenter redraws: the one knows the class, the other where a garment ends."""

    def __init__(self, detector: ImageDetector, segmenter: Segmenter) -> None:
        self._detector = detector
        self._segmenter = segmenter

    def detect(self, images: Iterable[Photo], *, min_score: float) -> Iterator[Scene]:
        """See `ImageDetector.detect`; keeps the detector's mask where the segmenter finds nothing."""
        ahead: deque[Photo] = deque()

        def buffered() -> Iterator[Photo]:
            for image in images:
                ahead.append(image)
                yield image

        for scene in self._detector.detect(buffered(), min_score=min_score):
            image = ahead.popleft()
            yield replace(scene, detections=tuple(self._refine(image, detection) for detection in scene.detections))

    def _refine(self, image: Photo, detection: Detection) -> Detection:
        if isinstance(self._segmenter, MaskRefiner):
            return replace(detection, mask=self._segmenter.refine(image, detection.mask))
        segments = self._segmenter.segment(image, Prompt(boxes=(bounding_box(detection.mask),)))
        return replace(detection, mask=segments[0].mask) if segments else detection


def bounding_box(mask: Mask) -> Box:
    """Returns the box, in pixels, around a mask `bool (H, W)` that is not empty."""
    left, top, width, height = cv2.boundingRect(mask.astype(np.uint8))
    return Box(left, top, left + width, top + height)
