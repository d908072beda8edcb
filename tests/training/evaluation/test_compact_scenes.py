from __future__ import annotations

import numpy as np

from backend.detector.average_precision import instances
from backend.domain import Detection, Image, LabelledMask, Scene
from tests.support import shapes
from training.evaluation.compact_scenes import MAX_DETECTIONS, CompactMasks, CompactScenes, FoundBefore


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
    scenes = CompactScenes([many])
    (kept,) = scenes
    assert [one.score for one in kept.detections] == [one.score for one in many.detections[:MAX_DETECTIONS]]
    # Of those that were left out the best has a score of 0.9.
    assert not scenes.are_complete(0.9) and scenes.are_complete(0.902)


def test_masks_are_counted_as_they_are_without_being_decoded() -> None:
    drawn = [LabelledMask(mask, name) for name, mask in shapes().items()]
    found = [Detection(mask, name, 0.5) for name, mask in shapes().items()]
    assert CompactMasks(drawn).instances() == instances(drawn)
    assert CompactMasks(drawn).labels == list(shapes())
    assert CompactScenes([Scene(tuple(found))]).instances(0) == instances(found)


def test_what_was_found_before_is_found_again_from_a_score_on() -> None:
    mask = shapes()["disk"]
    scenes = CompactScenes([Scene((Detection(mask, "saree", 0.9), Detection(mask, "kurta", 0.2))), Scene(())])
    images = [Image(np.zeros((*mask.shape, 3), np.uint8), str(number), "") for number in range(2)]
    found = FoundBefore(scenes).detect(images, min_score=0.25)
    assert [[one.class_name for one in scene.detections] for scene in found] == [["saree"], []]
