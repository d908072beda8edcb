"""What a detector sees in approved images, under the names of labels, and how good that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from backend.detector.yolo11 import Detector, ImageDetector
from backend.domain import Scene
from backend.label_studio.label_config import LabelConfig
from backend.registry.scores import Scores
from training.evaluation.compact_scenes import KeptScenes
from training.evaluation.held_out import HeldOut, detection_ms
from training.evaluation.score import scores_of

# Average precision counts all that a model finds, the surest first; below this nothing changes it any more.
JUDGED_FROM = 0.01


def scored(
    detector: ImageDetector, images: Sequence[HeldOut], config: LabelConfig, *, labels: Sequence[str], min_score: float
) -> tuple[Scores, KeptScenes]:
    """The detector's scores, and what it found.

    A class that is the earlier or another name of a label counts as that label; others count for nothing.

    Args:
        labels: what is scored, in order.
        min_score: confidence in `[0, 1]` from which on its finds are shown to people.
    """
    scenes = detector.detect((one.image for one in images), min_score=JUDGED_FROM)
    found = KeptScenes(_named(scene, config) for scene in scenes)
    # Words take a minute an image where no GPU is: once is enough.
    ms_an_image = detection_ms(images, detector, min_score=min_score) if isinstance(detector, Detector) else None
    scores = scores_of(
        [one.truth for one in images], found, sizes_wh=[one.image.size_wh for one in images], labels=labels,
        min_score=min_score, ms_an_image=ms_an_image,
    )  # fmt: skip
    return scores, found


def _named(scene: Scene, config: LabelConfig) -> Scene:
    named = [(one, config.label_for(one.class_name)) for one in scene.detections]
    return replace(scene, detections=tuple(replace(one, class_name=label) for one, label in named if label))
