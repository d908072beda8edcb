"""The report's photographs."""

from __future__ import annotations

import base64
from itertools import pairwise

import cv2
import numpy as np
import numpy.typing as npt

from backend.domain import LabelledMask
from tests.support import shapes
from training.report.pictures import ReportPicture, colours_of, cropped, picture, surroundings

COLOURS = colours_of(("saree", "kurta"))
WHITE = np.full((60, 97, 3), 255, np.uint8)


def pixels(drawn: ReportPicture) -> npt.NDArray[np.uint8]:
    encoded = base64.b64decode(drawn.uri.removeprefix("data:image/jpeg;base64,"))
    decoded = cv2.imdecode(np.frombuffer(encoded, np.uint8), cv2.IMREAD_COLOR)
    assert decoded is not None
    return np.asarray(decoded[..., ::-1], np.uint8)


def test_a_garment_is_tinted_where_it_is_and_named_inside() -> None:
    for name, mask in shapes().items():
        drawn = picture(WHITE, [LabelledMask(mask, "saree", 0.5)], COLOURS, alt=name)
        assert drawn.size_wh == (97, 60) and drawn.alt == name
        coloured = pixels(drawn).astype(int).min(axis=2) < 245
        # JPEG's blocks of colour are 16 pixels wide.
        near = cv2.dilate(mask.view(np.uint8), np.ones((41, 41), np.uint8)).astype(bool)
        assert coloured[mask].mean() > 0.9 and not coloured[~near].any(), name
        (label,) = drawn.names
        assert label.text == "saree 0.50" and label.colour == COLOURS["saree"]


def test_names_do_not_cover_each_other_nor_leave_the_picture() -> None:
    garments = [LabelledMask(mask, "saree") for mask in shapes().values()]
    tops = [name.top_percent for name in picture(WHITE, garments[:4], COLOURS, alt="").names]
    assert all(lower - upper >= 7.9 for upper, lower in pairwise(tops))
    assert all(0 <= name.top_percent <= 100 for name in picture(WHITE, garments * 4, COLOURS, alt="").names)


def test_a_large_image_becomes_small_and_one_pixel_wide_ones_stay() -> None:
    mask = np.zeros((900, 30), bool)
    mask[100:800] = True
    assert picture(np.zeros((900, 30, 3), np.uint8), [LabelledMask(mask, "kurta")], COLOURS, alt="").size_wh == (
        12,
        360,
    )
    thin = picture(np.zeros((4000, 1, 3), np.uint8), [LabelledMask(np.ones((4000, 1), bool), "other")], COLOURS, alt="")
    assert thin.size_wh == (1, 360)


def test_a_crop_holds_the_garment_and_what_is_beside_it() -> None:
    for name, mask in shapes().items():
        part, (inside,) = cropped(WHITE, [LabelledMask(mask, "saree", 0.5)], surroundings([mask]))
        assert part.shape[:2] == inside.mask.shape, name
        assert np.count_nonzero(inside.mask) == np.count_nonzero(mask), name
        assert (inside.label, inside.score) == ("saree", 0.5)
    around = surroundings([shapes()["pixel"]])
    assert (around.x_max, around.y_max) == (97, 60) and around.x_min < 90 and around.y_min < 50
