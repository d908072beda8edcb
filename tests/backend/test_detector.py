from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.detector import Detector, Detectors
from backend.domain import Image
from backend.errors import ModelError
from backend.registry import Registry, Version
from backend.settings import Settings
from label_studio_config.demo.figures import LABELS, draw_figure
from tests.support import iou


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    return Registry(tmp_path / "models")


def add(registry: Registry, weights: Path) -> Version:
    return registry.add(
        1, weights=weights, classes=LABELS, parent=None, metrics={}, annotations={}, image_size_px=256, origin="starter"
    )


def picture(seed: int) -> Image:
    return Image(draw_figure(seed).pixels, f"key-{seed}", "s")


def test_the_starter_finds_garments_in_images_of_any_shape(registry: Registry, starter: Path) -> None:
    detector = Detector(add(registry, starter), device="cpu")
    seeds = [1, 3, 7]
    found = detector.detect([picture(seed) for seed in seeds], min_score=0.25)
    hits = []
    for seed, detections in zip(seeds, found, strict=True):
        figure = draw_figure(seed)
        assert all(one.mask.shape == figure.pixels.shape[:2] and one.mask.dtype == np.bool_ for one in detections)
        assert [one.score for one in detections] == sorted((one.score for one in detections), reverse=True)
        hits += [
            max(iou(one.mask, instance.mask) for one in detections if one.class_name == instance.label)
            if any(one.class_name == instance.label for one in detections)
            else 0.0
            for instance in figure.instances
        ]
    assert np.median(hits) > 0.7, hits


def test_a_low_threshold_really_lowers_it(registry: Registry, starter: Path) -> None:
    detector = Detector(add(registry, starter), device="cpu")
    (few,), (many,) = (detector.detect([picture(3)], min_score=score) for score in (0.5, 0.01))
    assert len(many) > len(few)
    assert min(one.score for one in many) < 0.25
    assert all(one.score >= 0.5 for one in few)


def test_nothing_in_an_empty_image_is_an_ordinary_answer(registry: Registry, starter: Path) -> None:
    detector = Detector(add(registry, starter), device="cpu")
    blank = Image(np.full((80, 120, 3), 127, np.uint8), "blank", "s")
    assert detector.detect([blank], min_score=0.6) == [[]]
    assert detector.detect([], min_score=0.5) == []


def test_a_promotion_is_seen_at_once(registry: Registry, starter: Path) -> None:
    detectors = Detectors(registry, Settings(device="cpu"))
    assert detectors.for_project(1) is None
    seen = []
    for version in (add(registry, starter), add(registry, starter)):
        registry.promote(1, version.name)
        for _ in range(2):
            current = detectors.for_project(1)
            assert current is not None
            assert current[1] == version
            seen.append(current[0])
    # Loaded once a version.
    assert seen[0] is seen[1] is not seen[2]


def test_weights_that_are_no_model_are_said(registry: Registry, tmp_path: Path) -> None:
    path = tmp_path / "bad.pt"
    path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="does not load"):
        Detector(add(registry, path), device="cpu")
