"""Small pictures show the garment, and their outlines lie around it."""

from __future__ import annotations

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from backend.domain import LabelledMask, Mask
from training.data_out.garment_images import GarmentImage
from training.data_out.wardrobe.pictures import (
    GARMENT_SIDE_PX,
    PHOTOGRAPH_SIDE_PX,
    garment_file,
    outline,
    small_cutout,
    write_small_pictures,
)


def drawn(path: str, *, size_wh: tuple[int, int]) -> Mask:
    """The mask inside an SVG path, by the even-odd rule, without its line."""
    mask = np.zeros(size_wh[::-1], np.uint8)
    rings = []
    for start, steps in re.findall(r"M(\S+?)l([^z]*)z", path):
        points = np.array([part.split(",") for part in (start, *steps.split())], int)
        rings.append(points.cumsum(axis=0))
    cv2.fillPoly(mask, [ring.astype(np.int32) for ring in rings], 1)
    return mask.astype(bool)


def ring_and_dot() -> Mask:
    """A garment in two parts, one of which has a hole; not square."""
    mask = np.zeros((60, 100), bool)
    mask[5:50, 10:60], mask[20:35, 25:45], mask[10:30, 80:95] = True, False, True
    return mask


@pytest.mark.parametrize(
    "mask",
    [ring_and_dot(), np.ones((40, 70), bool)],
    ids=["two parts and a hole", "the whole image"],
)
def test_outlines_follow_the_mask(mask: Mask) -> None:
    path = outline(mask)
    found = drawn(path, size_wh=(mask.shape[1], mask.shape[0]))
    assert np.count_nonzero(found & mask) / np.count_nonzero(found | mask) > 0.93


@pytest.mark.parametrize("pixels", [0, 1])
def test_what_is_too_small_has_no_outline(pixels: int) -> None:
    mask = np.zeros((10, 20), bool)
    mask.flat[:pixels] = True
    assert outline(mask) == ""


def test_the_surroundings_do_not_bleed_into_a_small_garment() -> None:
    pixels = np.zeros((900, 1300, 3), np.uint8)
    mask = np.zeros((900, 1300), bool)
    mask[103:797, 207:1201] = True
    mask[300:400, 500:700] = False
    pixels[..., 1] = 255
    pixels[mask] = (200, 0, 100)
    small = small_cutout(pixels, mask)
    assert max(small.shape[:2]) == GARMENT_SIDE_PX and small.shape[1] > small.shape[0]
    seen = small[..., 3] > 0
    assert np.abs(small[seen][:, :3].astype(int) - (200, 0, 100)).max() <= 1
    assert not seen.all()


def test_pictures_lie_below_the_folder_and_none_is_enlarged(tmp_path: Path) -> None:
    pixels = np.full((60, 100, 3), 90, np.uint8)
    large = GarmentImage(3, "3_large", pixels.repeat(30, 0).repeat(30, 1), (), True)
    small = GarmentImage(4, "4_small", pixels, (LabelledMask(ring_and_dot(), "<b>"),), True)
    photographs = [write_small_pictures(image, tmp_path) for image in (large, small)]
    assert [photograph.size_wh for photograph in photographs] == [(PHOTOGRAPH_SIDE_PX, 540), (100, 60)]
    for photograph in photographs:
        with Image.open(tmp_path / photograph.file) as opened:
            assert opened.size == photograph.size_wh
    assert photographs[0].outlines == () and len(photographs[1].outlines) == 1
    with Image.open(tmp_path / garment_file("4_small", 1)) as opened:
        assert (opened.size, opened.mode) == ((85, 45), "RGBA")
