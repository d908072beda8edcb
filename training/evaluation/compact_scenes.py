"""What a detector found in many images, kept small: masks as runs, some hundred bytes for a quarter of a megabyte."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, overload

from faster_coco_eval import mask as rle

from backend.domain import Detection, Scene
from backend.regions.mask_runs import runs_of

# COCO counts no more of an image, the surest first.
MOST_DETECTIONS = 100


@dataclass(frozen=True)
class _Kept:
    """A detection, its mask run-length encoded."""

    runs: dict[str, Any]
    class_name: str
    score: float
    mask_score: float

    def detection(self) -> Detection:
        return Detection(rle.decode(self.runs).astype(bool), self.class_name, self.score, self.mask_score)


class CompactScenes(Sequence[Scene]):
    """Scenes without their features, each drawn anew when it is asked for; the surest hundred detections of each."""

    def __init__(self, scenes: Iterable[Scene]) -> None:
        self._scenes = [tuple(_keep(one) for one in scene.detections[:MOST_DETECTIONS]) for scene in scenes]

    def __len__(self) -> int:
        return len(self._scenes)

    @overload
    def __getitem__(self, number: int) -> Scene: ...
    @overload
    def __getitem__(self, number: slice) -> Sequence[Scene]: ...
    def __getitem__(self, number: int | slice) -> Scene | Sequence[Scene]:
        if isinstance(number, slice):
            return [self[one] for one in range(len(self))[number]]
        return Scene(tuple(one.detection() for one in self._scenes[number]))


def _keep(one: Detection) -> _Kept:
    runs = runs_of(one.mask)
    return _Kept(runs, one.class_name, one.score, one.mask_score)
