"""Holds the masks of many images in little memory: a mask as runs takes some hundred bytes instead of 250 kB."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import numpy as np

from backend.detector.average_precision import Instance, instance_of
from backend.domain import Detection, LabelledMask, Photo, Scene
from backend.regions.mask_runs import coco_rle, mask_of

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
        return Detection(mask_of(self.runs), self.class_name, self.score, self.mask_score)


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
        return self.above(number, 0.0)

    def above(self, number: int, min_score: float) -> Scene:
        """Returns the scene with the detections that have at least this score, in `[0, 1]`; decodes no others."""
        return Scene(tuple(compact.detection() for compact in self._scenes[number] if compact.score >= min_score))

    def instances(self, number: int) -> tuple[Instance, ...]:
        """Returns a scene's detections as `instances` does, without decoding them."""
        return tuple(instance_of(compact.class_name, compact.score, compact.runs) for compact in self._scenes[number])

    def are_complete(self, min_score: float) -> bool:
        """Whether every detection that was given, of at least this score, is there."""
        return all(len(scene) < MAX_DETECTIONS or scene[-1].score < min_score for scene in self._scenes)


class FoundBefore:
    """A detector that gives the scenes which one has found in the same images, in their order."""

    def __init__(self, scenes: CompactScenes) -> None:
        self._scenes = scenes

    def detect(self, images: Iterable[Photo], *, min_score: float) -> Iterator[Scene]:
        """See `ImageDetector.detect`; reads none of the images."""
        for number, _ in enumerate(images):
            yield self._scenes.above(number, min_score)


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
        return replace(garment, mask=mask_of(runs))

    @property
    def labels(self) -> list[str]:
        """The label of each mask."""
        return [garment.label for garment, _ in self._garments]

    def instances(self) -> tuple[Instance, ...]:
        """Returns the masks as `instances` does, without decoding them."""
        return tuple(instance_of(garment.label, garment.score or 0.0, runs) for garment, runs in self._garments)


def _compact(detection: Detection) -> _CompactDetection:
    runs = coco_rle(detection.mask)
    return _CompactDetection(runs, detection.class_name, detection.score, detection.mask_score)
