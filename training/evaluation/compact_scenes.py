"""Holds the detections of many images in little memory: a mask as runs takes some hundred bytes instead of 250 kB."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, overload

from faster_coco_eval import mask as rle

from backend.domain import Detection, Scene
from backend.regions.mask_runs import coco_rle

# COCO counts at most this many detections per image, those with the highest scores.
MAX_DETECTIONS = 100


@dataclass(frozen=True)
class _CompactDetection:
    """A detection with its mask run-length encoded."""

    runs: dict[str, Any]
    class_name: str
    score: float
    mask_score: float

    def detection(self) -> Detection:
        return Detection(rle.decode(self.runs).astype(bool), self.class_name, self.score, self.mask_score)


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


def _compact(detection: Detection) -> _CompactDetection:
    runs = coco_rle(detection.mask)
    return _CompactDetection(runs, detection.class_name, detection.score, detection.mask_score)
