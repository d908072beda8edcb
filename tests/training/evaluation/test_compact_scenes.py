from __future__ import annotations

import numpy as np

from backend.domain import Detection, LabelledMask, Scene
from tests.support import shapes
from training.evaluation.compact_scenes import MAX_DETECTIONS, CompactMasks, CompactScenes


def test_what_is_kept_is_what_was_found() -> None:
    masks = shapes()
    scene = Scene(tuple(Detection(mask, name, 0.5, 0.25) for name, mask in masks.items()), np.zeros(3, np.float32))
    kept = CompactScenes([scene, Scene(())])
    assert len(kept) == 2 and kept[1].detections == ()
    for one, mask in zip(kept[0].detections, masks.values(), strict=True):
        assert (one.mask == mask).all() and one.mask.dtype == bool
        assert (one.score, one.mask_score) == (0.5, 0.25)
    assert [one.class_name for one in kept[0].detections] == list(masks)
    assert [len(one.detections) for one in kept[-1:]] == [0]


def test_an_approved_garment_is_kept_as_it_was_drawn() -> None:
    drawn = [LabelledMask(mask, name, kind="brush", region_id=name) for name, mask in shapes().items()]
    kept = CompactMasks(drawn)
    assert len(kept) == len(drawn) and not CompactMasks([])
    for one, garment in zip(kept, drawn, strict=True):
        assert (one.mask == garment.mask).all() and one.mask.dtype == bool
        assert (one.label, one.score, one.kind, one.region_id) == (garment.label, None, "brush", garment.label)
    assert [one.label for one in kept[1:]] == [garment.label for garment in drawn[1:]]


def test_no_more_is_kept_than_counts() -> None:
    mask = shapes()["disk"]
    many = Scene(tuple(Detection(mask, "saree", 1 - number / 1000) for number in range(MAX_DETECTIONS + 20)))
    (kept,) = CompactScenes([many])
    assert [one.score for one in kept.detections] == [one.score for one in many.detections[:MAX_DETECTIONS]]
