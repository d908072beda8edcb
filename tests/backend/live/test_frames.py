"""Frames with the starter, a real detector of drawn figures."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from backend.domain import Mask, Pixels
from backend.errors import ImageError, NotFoundError
from backend.label_studio.label_colours import colour_of
from backend.label_studio.label_config import parse_label_config
from backend.live.frames import MAX_LOADED, SIDE_PX, Frames, SeenFrame
from backend.regions.polygons import outline_to_mask
from backend.registry.registry import Registry
from backend.settings import Settings
from label_studio_config.demo.figures import Figure, draw_figure
from label_studio_config.palette_xml import GARMENTS, palette
from tests.exported import add_colours
from tests.support import add_starter, iou

CONFIG = parse_label_config(palette(GARMENTS))


@pytest.fixture
def figure() -> Figure:
    return draw_figure(700)


@pytest.fixture
def registry(tmp_path: Path, starter: Path) -> Registry:
    registry = Registry(tmp_path / "models")
    registry.promote(7, add_starter(registry, 7, starter).name)
    return registry


@pytest.fixture
def frames(registry: Registry) -> Frames:
    return Frames(registry, Settings(device="cpu"))


def jpeg(pixels: Pixels) -> bytes:
    return cv2.imencode(".jpg", np.ascontiguousarray(pixels[..., ::-1]))[1].tobytes()


def largest(seen: SeenFrame) -> Mask:
    """The mask of the largest garment, `bool (height, width)`."""
    size_wh = (seen.width, seen.height)
    masks = [
        np.any([outline_to_mask(np.array(line), size_wh=size_wh) for line in garment.outlines], axis=0)
        for garment in seen.garments
    ]
    return max(masks, key=np.count_nonzero)


@pytest.mark.slow
@pytest.mark.parametrize("factor", [0.5, 2], ids=["small", "reduced for the model"])
def test_garments_are_outlined_in_pixels_of_the_frame(frames: Frames, figure: Figure, factor: float) -> None:
    pixels = cv2.resize(figure.pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    assert (max(pixels.shape) > SIDE_PX) == (factor > 1)
    seen = frames.see(7, CONFIG, jpeg(pixels))
    assert (seen.height, seen.width) == pixels.shape[:2]
    assert seen.version.endswith(frames.detectors.for_project(7).version.name)  # type: ignore[union-attr]
    assert seen.ms > 0
    mask = cv2.resize(largest(seen).astype(np.uint8), figure.pixels.shape[1::-1], interpolation=cv2.INTER_NEAREST) > 0
    assert max(iou(mask, one.mask) for one in figure.instances) > 0.8
    for garment in seen.garments:
        assert 0 < garment.score <= 1
        assert garment.colour == colour_of(GARMENTS.index(garment.label))


@pytest.mark.slow
def test_a_frame_without_a_garment_is_an_answer(frames: Frames) -> None:
    assert frames.see(7, CONFIG, jpeg(np.full((90, 160, 3), 128, np.uint8))).garments == ()


@pytest.mark.slow
def test_labels_that_are_left_to_people_are_not_seen(frames: Frames, figure: Figure) -> None:
    skipping = palette(GARMENTS).replace("<Polygon ", '<Polygon model_skip="true" ')
    assert frames.see(7, CONFIG, jpeg(figure.pixels)).garments
    assert frames.see(7, parse_label_config(skipping), jpeg(figure.pixels)).garments == ()


@pytest.mark.slow
def test_two_versions_are_in_memory_at_most(frames: Frames, registry: Registry, starter: Path, figure: Figure) -> None:
    names = [add_starter(registry, 7, starter).name for _ in range(3)]
    for name in names:
        assert frames.see(7, CONFIG, jpeg(figure.pixels), version_name=name).version == name
    assert len(frames.detectors._loaded) == MAX_LOADED == 2


@pytest.mark.parametrize("encoded", [b"", b"no picture", b"\xff\xd8\xff\xe0 nothing more"])
def test_what_is_no_picture_is_refused_in_a_sentence(frames: Frames, encoded: bytes) -> None:
    with pytest.raises(ImageError, match=r"'frame' is (not an image|damaged)"):
        frames.see(7, CONFIG, encoded)


@pytest.mark.parametrize(
    ("project_id", "version", "said"),
    [(8, "", "Project 8 has no model yet"), (7, "yolo11n-seg-v9-000000", "Project 7 has no model version")],
)
def test_what_does_not_exist_is_named(frames: Frames, figure: Figure, project_id: int, version: str, said: str) -> None:
    with pytest.raises(NotFoundError, match=said):
        frames.see(project_id, CONFIG, jpeg(figure.pixels), version_name=version)


def test_a_network_of_another_architecture_sees_frames(tmp_path: Path) -> None:
    registry = Registry(tmp_path / "models")
    registry.promote(7, add_colours(registry, 7, tmp_path, classes=("saree", "blouse")).name)
    pixels = np.zeros((120, 200, 3), np.uint8)
    pixels[20:100, 30:90, 2] = 255
    seen = Frames(registry, Settings(device="cpu")).see(7, CONFIG, jpeg(pixels))
    assert [one.label for one in seen.garments] == ["blouse"]
    assert iou(largest(seen), pixels[..., 2] > 0) > 0.9
