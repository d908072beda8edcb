"""Holds the masks of many images in little memory: a mask as runs takes some hundred bytes instead of 250 kB."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np
from faster_coco_eval import mask as rle

from backend.domain import Detection, LabelledMask, Mask, Scene
from backend.regions.mask_runs import coco_rle

# COCO counts at most this many detections per image, those with the highest scores.
MAX_DETECTIONS = 100
NO_MASK = np.zeros((0, 0), bool)


@dataclass(frozen=True)
class _CompactDetection:
    """A detection with its mask run-length encoded."""

    runs: dict[str, Any]
    class_name: str
    score: float
    mask_score: float

    def detection(self) -> Detection:
        return Detection(_mask(self.runs), self.class_name, self.score, self.mask_score)


class CompactScenes(Sequence[Scene]):
    """A sequence of scenes without features, decoded at each access; at most `MAX_DETECTIONS` detections of each."""

    def __init__(self, scenes: Iterable[Scene]) -> None:
        self._scenes = [
            tuple(_compact(detection) for detection in scene.detections[:MAX_DETECTIONS]) for scene in scenes
        ]

    def __len__(self) -> int:
        return len(self._scenes)

    @overload
    def __getitem__(self, number: int) -> Scene: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Scene]: ...
    def __getitem__(self, number: int | slice) -> Scene | Sequence[Scene]:
        if isinstance(number, slice):
            return [self[index] for index in range(len(self))[number]]
        return Scene(tuple(compact.detection() for compact in self._scenes[number]))


class CompactMasks(Sequence[LabelledMask]):
    """A sequence of labelled masks of one image, decoded at each access."""

    def __init__(self, garments: Iterable[LabelledMask]) -> None:
        self._garments = [(replace(garment, mask=NO_MASK), coco_rle(garment.mask)) for garment in garments]

    def __len__(self) -> int:
        return len(self._garments)

    @overload
    def __getitem__(self, number: int) -> LabelledMask: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[LabelledMask]: ...
    def __getitem__(self, number: int | slice) -> LabelledMask | Sequence[LabelledMask]:
        if isinstance(number, slice):
            return [self[index] for index in range(len(self))[number]]
        garment, runs = self._garments[number]
        return replace(garment, mask=_mask(runs))


def _mask(runs: dict[str, Any]) -> Mask:
    return rle.decode(runs).astype(bool)


def _compact(detection: Detection) -> _CompactDetection:
    runs = coco_rle(detection.mask)
    return _CompactDetection(runs, detection.class_name, detection.score, detection.mask_score)
