"""What a model does with the photographs that judge: how well it finds, what is left to do, what would be accepted."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from backend.auto_accept.gate import gate_of
from backend.compute.devices import pick_device
from backend.detector.average_precision import average_precisions, instances
from backend.detector.detector_pool import load_detector
from backend.domain import LabelledMask
from backend.label_studio.label_config import LabelConfig
from backend.predict.garments import stored_garments
from backend.regions.decode import decode
from backend.registry.registry import Version
from backend.settings import Settings
from benchmarks.flywheel.generation import Judged
from benchmarks.flywheel.matching import match
from training.auto_accept.calibrate import with_masks_refined
from training.evaluation.held_out import HeldOut
from training.metrics.matching import match as match_detections

# Average precision counts all that a model finds, the surest first; below this nothing changes it any more.
MIN_EVALUATED_SCORE = 0.01


def judge(version: Version | None, photographs: Sequence[HeldOut], config: LabelConfig, settings: Settings) -> Judged:
    """Has a version predict the photographs as the service does; None stands for no model, which finds nothing.

    Args:
        settings: say what the gate promises, see `backend.auto_accept.gate`, and whether masks are refined.

    Raises:
        ModelError: the weights do not load.
    """
    if version is None:
        garments = sum(len(photograph.truth) for photograph in photographs)
        return Judged(0.0, (None,) * garments, 0, len(photographs), 0, 0, 0, 0)
    loaded = load_detector(version, device=pick_device(settings.device)).detector
    detector = with_masks_refined(loaded, settings)
    gate = gate_of(version, settings)
    expected, detected = [], []
    shown_ious: list[float | None] = []
    deleted = 0
    accepted: list[tuple[int, int, bool]] = []
    scenes = detector.detect([photograph.image for photograph in photographs], min_score=MIN_EVALUATED_SCORE)
    for photograph, scene in zip(photographs, scenes, strict=True):
        truth = list(photograph.truth)
        expected.append(instances(truth))
        detected.append(instances(scene.detections))
        stored = stored_garments(scene, config, settings, model_version=version.name)
        shown = [mask for garment in stored for mask in decode(garment.regions)[0]]
        meant, left = match(shown, truth)
        shown_ious += [one.shown_iou for one in meant]
        deleted += len(left)
        if gate.passes([garment.label_score for garment in stored]):
            right = _right(shown, truth, settings)
            accepted.append((len(shown), right, right == len(shown) == len(truth)))
    return Judged(
        mask_map50_95=float(np.mean(list(average_precisions(expected, detected).values()))),
        shown_ious=tuple(shown_ious),
        deleted=deleted,
        images=len(photographs),
        accepted_images=len(accepted),
        accepted_regions=sum(regions for regions, _, _ in accepted),
        right_regions=sum(right for _, right, _ in accepted),
        right_images=sum(is_right for _, _, is_right in accepted),
    )


def _right(shown: Sequence[LabelledMask], truth: Sequence[LabelledMask], settings: Settings) -> int:
    found = match_detections(0, shown, truth, iou=settings.auto_accept_iou)
    return sum(one.is_correct for one in found)
