"""An exported network finds garments in whole images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from backend.detector.exported.detector import ExportedDetector
from backend.domain import Image
from backend.errors import ModelError
from tests.exported import export_colours

LABELS = ("red", "blue")


@pytest.fixture
def detector(tmp_path: Path) -> ExportedDetector:
    """Its numbers lie in a file of another name and folder, as the registry stores them."""
    network = export_colours(tmp_path)
    weights = network.with_suffix(".bin").rename(tmp_path / "elsewhere.weights")
    return ExportedDetector(network, weights, kind="label map", classes=LABELS, image_size_px=128)


def image_of(width: int, height: int) -> Image:
    """Red in the left third, blue in the right one."""
    pixels = np.zeros((height, width, 3), np.uint8)
    pixels[height // 4 : height // 2, : width // 3, 0] = 255
    pixels[height // 4 : height // 2, 2 * width // 3 :, 2] = 255
    return Image(pixels, f"{width}", "drawn")


def test_garments_are_found_in_images_of_any_shape(detector: ExportedDetector) -> None:
    images = [image_of(90, 300), image_of(300, 90), image_of(128, 128), image_of(20, 30)]
    for image, scene in zip(images, detector.detect(images, min_score=0.1), strict=True):
        found = {detection.class_name: detection for detection in scene.detections}
        assert found.keys() == set(LABELS) and len(scene.detections) == 2
        for name, channel in (("red", 0), ("blue", 2)):
            truth = image.pixels[..., channel] > 0
            mask = found[name].mask
            assert mask.shape == truth.shape
            assert (mask & truth).sum() / (mask | truth).sum() > 0.85
            assert found[name].score > 0.8
        assert scene.features is None and not scene.class_scores


def test_it_can_compute_at_a_smaller_size_and_leaves_out_what_is_unsure(detector: ExportedDetector) -> None:
    (whole,) = detector.detect([image_of(128, 96)], min_score=0.1)
    (small,) = detector.detect([image_of(128, 96)], min_score=0.1, max_side_px=32)
    assert len(small.detections) == 2 and small.detections[0].mask.shape == (96, 128)
    assert not np.array_equal(small.detections[0].mask, whole.detections[0].mask)
    (none,) = detector.detect([image_of(128, 96)], min_score=0.999)
    assert none.detections == ()


def test_a_damaged_file_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "damaged.xml").write_text("<net")
    (tmp_path / "damaged.bin").write_bytes(b"")
    for name in ("damaged", "missing"):
        with pytest.raises(ModelError, match=f"The exported model {name}.xml does not load"):
            ExportedDetector(
                tmp_path / f"{name}.xml", tmp_path / f"{name}.bin", kind="instances", classes=("a",), image_size_px=64
            )
