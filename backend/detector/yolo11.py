"""YOLO11-seg over whole images: prepares images, runs the network, and reads detections from its outputs."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Protocol

import cv2
import numpy as np

from backend.detector.runtimes.base import Floats, Outputs, Runtime
from backend.domain import Detection, Mask, Photo, Pixels, Scene

# Ultralytics' own limit; the pipeline decides how many detections become regions.
MAX_DETECTIONS = 300
# The network halves the image's sides five times.
STRIDE_PX = 32
PROTOTYPE_STRIDE_PX = 4
# Ultralytics' own value: two boxes of one class with a larger IoU are one garment.
SAME_BOX_IOU = 0.7
PADDING_GREY = 114
# A part of a mask with less than this share of its largest part's pixels is a crumb.
CRUMB_SHARE = 0.2
# Candidates with a lower score are ignored, whatever the caller's `min_score` is.
MIN_SCORE = 1e-3


class ImageDetector(Protocol):
    """A model that finds the garments in whole images."""

    def detect(self, images: Iterable[Photo], *, min_score: float) -> Iterator[Scene]:
        """Yields the scene in each image, in order, with masks `bool (H, W)` at the size of the image's pixels.

        May take further images before it yields the scene of an earlier image.

        Args:
            min_score: confidence in `[0, 1]` from which a detection counts.
        """


class SizedDetector(ImageDetector, Protocol):
    """A model that can also compute at a smaller size than its own."""

    def detect(self, images: Iterable[Photo], *, min_score: float, max_side_px: int | None = None) -> Iterator[Scene]:
        """See `ImageDetector.detect`.

        Args:
            max_side_px: computes at a smaller size than the model's own, which is faster and finds less; None for that.
        """


@dataclass(frozen=True)
class Letterbox:
    """An image as the network's input: fitted into a square, padded to whole strides.

    Attributes:
        pixels: `uint8 (h, w, 3)`, RGB.
        left_px, top_px: padding to the left of the image and above it.
        fitted_wh: the image's size in `pixels`.
    """

    pixels: Pixels
    left_px: int
    top_px: int
    fitted_wh: tuple[int, int]


def letterbox(pixels: Pixels, *, side_px: int) -> Letterbox:
    """Fits an image `uint8 (H, W, 3)` into a square of `side_px`, and pads it as little as the network allows."""
    height, width = pixels.shape[:2]
    scale = side_px / max(height, width)
    fitted_wh = max(round(width * scale), 1), max(round(height * scale), 1)
    if fitted_wh != (width, height):
        pixels = cv2.resize(pixels, fitted_wh, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
    pad_x, pad_y = (-length % STRIDE_PX for length in fitted_wh)
    left, top = pad_x // 2, pad_y // 2
    if pad_x or pad_y:
        grey = (PADDING_GREY,) * 3
        pixels = cv2.copyMakeBorder(pixels, top, pad_y - top, left, pad_x - left, cv2.BORDER_CONSTANT, value=grey)
    return Letterbox(pixels, left, top, fitted_wh)


def read_outputs(
    outputs: Outputs,
    boxed: Letterbox,
    classes: tuple[str, ...],
    *,
    size_wh: tuple[int, int],
    min_score: float,
    crumb_share: float = CRUMB_SHARE,
) -> list[Detection]:
    """Returns the detections in the network's outputs, best score first.

    Args:
        size_wh: size of the returned masks, in pixels.
        crumb_share: parts of a mask with a smaller share of its largest part's pixels, in `[0, 1]`, are left out.
    """
    candidates = outputs.candidates
    scores = candidates[4 : 4 + len(classes)]
    best = scores.max(axis=0)
    chosen = np.flatnonzero(best >= max(min_score, MIN_SCORE))
    if not len(chosen):
        return []
    class_index, score = scores[:, chosen].argmax(axis=0), best[chosen]
    centre_xy, box_wh = candidates[0:2, chosen].T, candidates[2:4, chosen].T
    boxes_xywh = np.concatenate([centre_xy - box_wh / 2, box_wh], axis=1)
    kept = cv2.dnn.NMSBoxesBatched(boxes_xywh, score, class_index, 0.0, SAME_BOX_IOU)  # type: ignore[arg-type]
    kept = sorted(map(int, kept), key=lambda index: -score[index])[:MAX_DETECTIONS]
    coefficients = candidates[4 + len(classes) :, chosen[kept]].T
    logits = np.tensordot(coefficients, outputs.prototypes, axes=1)
    detections = []
    for index, mask_logits in zip(kept, logits, strict=True):
        _remove_crumbs(mask_logits, boxes_xywh[index], crumb_share)
        mask = _mask(mask_logits, boxes_xywh[index], boxed, size_wh)
        if mask.any():
            mask_score = _mask_score(mask_logits, boxes_xywh[index])
            detections.append(Detection(mask, classes[class_index[index]], float(score[index]), mask_score))
    return detections


def _in_box(logits: Floats, box_xywh: Floats) -> Floats:
    """Returns a view of the logits in a box, at the prototypes' own size."""
    x, y, across, down = box_xywh / PROTOTYPE_STRIDE_PX
    return logits[max(int(y), 0) : int(np.ceil(y + down)), max(int(x), 0) : int(np.ceil(x + across))]


def _remove_crumbs(logits: Floats, box_xywh: Floats, crumb_share: float) -> None:
    """Makes the logits of crumbs negative; parts that touch at a corner are one."""
    inside = _in_box(logits, box_xywh)
    if not inside.size:
        # OpenCV would end the process. Such a box has no width: numbers of 16 bits round its edges to the same pixel.
        return
    count, parts, stats, _ = cv2.connectedComponentsWithStats((inside > 0).view(np.uint8), connectivity=8)
    if count > 2:
        areas = stats[1:, cv2.CC_STAT_AREA]
        crumbs = 1 + np.flatnonzero(areas < crumb_share * areas.max())
        # Mirrored at zero, so that the enlarged mask's border to what is left stays where it is.
        np.negative(inside, out=inside, where=np.isin(parts, crumbs))


def _mask_score(logits: Floats, box_xywh: Floats) -> float:
    """Returns the mean probability, in `[0, 1]`, of the mask's pixels in its box, at the prototypes' own size."""
    inside = _in_box(logits, box_xywh)
    inside = inside[inside > 0]
    return float((1 / (1 + np.exp(-inside))).mean()) if inside.size else 0.0


def _mask(logits: Floats, box_xywh: Floats, boxed: Letterbox, size_wh: tuple[int, int]) -> Mask:
    """Returns one garment's mask at `size_wh`, cropped to its box."""
    height, width = boxed.pixels.shape[:2]
    (wide, high), (left, top) = boxed.fitted_wh, (boxed.left_px, boxed.top_px)
    enlarged = cv2.resize(logits, (width, height), interpolation=cv2.INTER_LINEAR)[top : top + high, left : left + wide]
    if size_wh != (wide, high):
        enlarged = cv2.resize(enlarged, size_wh, interpolation=cv2.INTER_LINEAR)
    scale = np.array([size_wh[0] / wide, size_wh[1] / high] * 2)
    x, y, across, down = box_xywh
    box_xyxy = (np.array([x, y, x + across, y + down]) - (left, top, left, top)) * scale
    x_min, y_min, x_max, y_max = np.clip(np.ceil(box_xyxy), 0, size_wh * 2).astype(int)
    mask = np.zeros(enlarged.shape, bool)
    mask[y_min:y_max, x_min:x_max] = enlarged[y_min:y_max, x_min:x_max] > 0
    return mask


class Detector:
    """One loaded model; serves one caller at a time."""

    def __init__(self, runtime: Runtime, *, classes: tuple[str, ...], image_size_px: int) -> None:
        """`classes`: names in the model's own order; `image_size_px`: longer side at which the model works best."""
        self.runtime = runtime
        self._classes = classes
        self._image_size_px = image_size_px
        self._lock = threading.Lock()

    def detect(self, images: Iterable[Photo], *, min_score: float, max_side_px: int | None = None) -> Iterator[Scene]:
        """See `SizedDetector.detect`."""
        side_px = min(self._image_size_px, max_side_px or self._image_size_px)
        ahead: deque[tuple[Photo, Letterbox]] = deque()

        def prepared() -> Iterator[Pixels]:
            for image in images:
                boxed = letterbox(image.pixels, side_px=side_px)
                ahead.append((image, boxed))
                yield boxed.pixels

        with self._lock:
            for outputs in self.runtime.infer(prepared()):
                image, boxed = ahead.popleft()
                detections = read_outputs(outputs, boxed, self._classes, size_wh=image.size_wh, min_score=min_score)
                best = outputs.candidates[4 : 4 + len(self._classes)].max(axis=1)
                class_scores = dict(zip(self._classes, map(float, best), strict=True))
                yield Scene(tuple(detections), outputs.features.copy(), class_scores)
