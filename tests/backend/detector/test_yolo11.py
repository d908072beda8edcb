from __future__ import annotations

import gc
import weakref
from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.compute.quiet_ultralytics import quiet_ultralytics
from backend.detector.detector_pool import DetectorPool, load_detector
from backend.detector.starter import starter_facts
from backend.detector.yolo11 import Detector
from backend.domain import Image
from backend.errors import ModelError
from backend.registry.registry import Registry, Version
from backend.settings import Settings
from label_studio_config.demo.figures import draw_figure
from tests.support import add_starter, iou

pytestmark = pytest.mark.slow


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


def add(registry: Registry, weights: Path) -> Version:
    return add_starter(registry, 1, weights)


@pytest.fixture
def detector(registry: Registry, starter: Path) -> Detector:
    """The starter, computed by PyTorch."""
    detector = load_detector(add(registry, starter), device="cpu").detector
    assert isinstance(detector, Detector)
    return detector


def picture(seed: int) -> Image:
    return Image(draw_figure(seed).pixels, f"key-{seed}", "s")


def test_the_starter_finds_garments_in_images_of_any_shape(detector: Detector) -> None:
    seeds = [1, 3, 7]
    found = detector.detect([picture(seed) for seed in seeds], min_score=0.25)
    hits = []
    for seed, scene in zip(seeds, found, strict=True):
        figure, detections = draw_figure(seed), scene.detections
        assert all(one.mask.shape == figure.pixels.shape[:2] and one.mask.dtype == np.bool_ for one in detections)
        assert [one.score for one in detections] == sorted((one.score for one in detections), reverse=True)
        assert all(0.5 < one.mask_score < 1 and one.region_score == one.score * one.mask_score for one in detections)
        hits += [
            max((iou(one.mask, instance.mask) for one in detections if one.class_name == instance.label), default=0.0)
            for instance in figure.instances
        ]
    assert np.median(hits) > 0.7, hits


def test_a_scene_tells_how_sure_the_model_was_of_each_class_even_of_what_it_did_not_find(detector: Detector) -> None:
    (found,) = detector.detect([picture(1)], min_score=0.25)
    (nothing,) = detector.detect([picture(1)], min_score=0.9999)
    assert found.detections and not nothing.detections
    assert set(found.class_scores) == set(starter_facts().classes) and nothing.class_scores == found.class_scores
    assert max(found.class_scores.values()) == found.detections[0].score
    assert all(found.class_scores[one.class_name] >= one.score for one in found.detections)


@pytest.mark.parametrize("size_wh", [(720, 540), (540, 720), (256, 256), (97, 641), (1500, 210), (33, 40)])
def test_masks_are_where_ultralytics_has_them(detector: Detector, starter: Path, size_wh: tuple[int, int]) -> None:
    pixels = cv2.resize(draw_figure(3).pixels, size_wh, interpolation=cv2.INTER_AREA)
    (scene,) = detector.detect([Image(pixels, "k", "s")], min_score=0.1)
    (theirs,) = (
        quiet_ultralytics()
        .YOLO(starter, task="segment")
        .predict(
            np.ascontiguousarray(pixels[..., ::-1]), imgsz=256, conf=0.1, retina_masks=True, verbose=False, device="cpu"
        )
    )
    masks = [] if theirs.masks is None else list(theirs.masks.data.numpy() > 0.5)
    names = [theirs.names[int(number)] for number in theirs.boxes.cls]
    sure = [one for one in scene.detections if one.score > 0.4]
    assert sure or size_wh in {(97, 641), (1500, 210), (33, 40)}
    for one in sure:
        # Images are made smaller in another way: the masks are alike, not the same.
        assert (
            max((iou(one.mask, mask) for mask, name in zip(masks, names, strict=True) if name == one.class_name)) > 0.85
        )


def test_images_that_are_seen_as_they_are_give_ultralytics_answer(detector: Detector, starter: Path) -> None:
    pixels = cv2.resize(draw_figure(3).pixels, (256, 192), interpolation=cv2.INTER_AREA)
    (scene,) = detector.detect([Image(pixels, "k", "s")], min_score=0.1)
    (theirs,) = (
        quiet_ultralytics()
        .YOLO(starter, task="segment")
        .predict(
            np.ascontiguousarray(pixels[..., ::-1]), imgsz=256, conf=0.1, retina_masks=True, verbose=False, device="cpu"
        )
    )
    assert len(scene.detections) == len(theirs.boxes) > 2
    for one, mask, score in zip(scene.detections, theirs.masks.data.numpy(), theirs.boxes.conf.numpy(), strict=True):
        assert one.score == pytest.approx(float(score), abs=1e-4)
        # But for crumbs, which Ultralytics keeps: each is smaller than a fifth of the garment.
        added = one.mask & (mask <= 0.5)
        assert added.sum() < 0.01 * one.mask.sum() and iou(one.mask, mask > 0.5) > 0.8


def test_a_low_threshold_really_lowers_it(detector: Detector) -> None:
    few, many = (next(iter(detector.detect([picture(3)], min_score=score))).detections for score in (0.5, 0.01))
    assert len(many) > len(few)
    assert min(one.score for one in many) < 0.25
    assert all(one.score >= 0.5 for one in few)


def test_a_caller_may_have_it_computed_smaller_but_not_larger(detector: Detector) -> None:
    own, small, large = (
        [one.score for one in next(iter(detector.detect([picture(3)], min_score=0.25, max_side_px=side))).detections]
        for side in (None, 128, 1280)
    )
    assert own == large != small
    reduced = Detector(detector.runtime, classes=starter_facts().classes, image_size_px=128)
    (scene,) = reduced.detect([picture(3)], min_score=0.25)
    assert small == [one.score for one in scene.detections]


def test_nothing_in_an_empty_image_is_an_ordinary_answer(detector: Detector) -> None:
    blank = Image(np.full((80, 120, 3), 127, np.uint8), "blank", "s")
    (scene,) = detector.detect([blank], min_score=0.6)
    assert scene.detections == ()
    assert list(detector.detect([], min_score=0.5)) == []


def test_a_caller_that_stops_half_way_leaves_the_detector_free(detector: Detector) -> None:
    answers = detector.detect([picture(3)] * 5, min_score=0.5)
    first = next(answers)
    del answers
    (again,) = detector.detect([picture(3)], min_score=0.5)
    assert len(first.detections) == len(again.detections) > 0


def test_a_promotion_is_seen_at_once(registry: Registry, starter: Path) -> None:
    detectors = DetectorPool(registry, Settings(device="cpu"))
    assert detectors.for_project(1) is None
    seen = []
    for version in (add(registry, starter), add(registry, starter)):
        registry.promote(1, version.name)
        for _ in range(2):
            current = detectors.for_project(1)
            assert current is not None
            assert current.version == version
            seen.append(current.detector)
    # Loaded once a version.
    assert seen[0] is seen[1] is not seen[2]


def test_of_a_project_that_trains_for_months_one_model_is_loaded(registry: Registry, starter: Path) -> None:
    detectors, seen = DetectorPool(registry, Settings(device="cpu")), []
    names = [add(registry, starter).name for _ in range(4)]
    for name in names:
        registry.promote(1, name)
        current = detectors.for_project(1)
        # By its name, as Label Studio asks for it, it is the same one.
        assert current is not None
        assert detectors.for_project(1, version_name=name) is current
        seen.append(weakref.ref(current.detector))
        del current
    gc.collect()
    assert [one() is None for one in seen] == [True, True, True, False]
    # One that somebody compares with stays beside it.
    earlier = detectors.for_project(1, version_name=names[0])
    assert earlier is not None and earlier.version.name == names[0]
    assert detectors.for_project(1, version_name=names[0]) is earlier
    assert seen[3]() is not None


def test_weights_that_are_no_model_are_said(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "bad.pt"
    path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="do not load"):
        load_detector(add(registry, path), device="cpu")
