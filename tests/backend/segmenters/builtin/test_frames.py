from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.domain import Box, Point
from backend.segmenters.builtin.frames import SIZE_WH, Frame, around, fitted, whole
from tests.support import iou

PICTURE_WH = (90, 60)


@pytest.mark.parametrize("frame", [Frame(10, 5, 30, 40), Frame(-20, -7, 120, 160), whole(PICTURE_WH)])
def test_what_is_cut_is_placed_where_it_was(frame: Frame) -> None:
    picture = np.zeros(PICTURE_WH[::-1], np.float32)
    picture[20:40, 20:30] = 1
    placed = frame.place(frame.cut(picture, size_wh=SIZE_WH), PICTURE_WH, threshold=0.5)
    assert placed.shape == picture.shape
    assert np.array_equal(placed, picture > 0.5)


def test_a_garment_at_the_pictures_edge_reaches_it() -> None:
    frame = whole((600, 800))
    placed = frame.place(np.ones(SIZE_WH[::-1], np.float32), (600, 800), threshold=0.5)
    assert placed.all()


@pytest.mark.parametrize("frame", [Frame(50, 50, 900, 1200), Frame(-200, -300, 1800, 2400), Frame(700, 900, 300, 400)])
def test_what_is_placed_is_the_whole_frame_enlarged(frame: Frame) -> None:
    width, height = 1000, 1300
    seen = np.zeros(SIZE_WH[::-1], np.float32)
    cv2.ellipse(seen, (120, 70), (60, 35), 20, 0, 360, 1.0, cv2.FILLED)
    large = cv2.resize(cv2.GaussianBlur(seen, (0, 0), 2), (frame.width, frame.height), interpolation=cv2.INTER_LINEAR)
    # The picture's part of the enlarged frame.
    inside = large[max(-frame.top, 0) : height - frame.top, max(-frame.left, 0) : width - frame.left] > 0.5
    row, column = max(frame.top, 0), max(frame.left, 0)
    expected = np.zeros((height, width), bool)
    expected[row : row + inside.shape[0], column : column + inside.shape[1]] = inside
    placed = frame.place(cv2.GaussianBlur(seen, (0, 0), 2), (width, height), threshold=0.5)
    assert iou(placed, expected) > 0.999
    # Nothing is cut off at the sides, where a border is long and a missing column small.
    bounds = [cv2.boundingRect(mask.view(np.uint8)) for mask in (placed, expected)]
    assert np.abs(np.subtract(*bounds)).max() <= 1


def test_what_lies_beside_the_picture_alone_is_not_placed() -> None:
    seen = np.zeros(SIZE_WH[::-1], np.float32)
    seen[:20] = 1
    assert not Frame(0, -300, 300, 400).place(seen, (300, 400), threshold=0.5).any()


@pytest.mark.parametrize("labels", [False, True])
def test_a_large_picture_is_seen_as_a_small_one_is(labels: bool) -> None:
    small = np.zeros((600, 800), np.uint8)
    small[200:500, 100:300], small[100:250, 500:700] = 200, 90
    large = np.kron(small, np.ones((10, 10), np.uint8))
    few, many = (
        whole((picture.shape[1], picture.shape[0])).cut(picture, size_wh=SIZE_WH, labels=labels).astype(float)
        for picture in (small, large)
    )
    # Three-pixel borders of 192 may differ.
    assert (np.abs(few - many) > 40).mean() < 0.005
    assert abs(few.mean() - many.mean()) < 0.5


def test_what_one_frame_shows_is_at_the_same_place_in_another() -> None:
    picture = np.zeros((600, 450), np.float32)
    picture[200:400, 150:300] = 1
    first, other = Frame(-30, 20, 450, 600), Frame(100, 130, 240, 320)
    seen = first.seen_from(first.cut(picture, size_wh=SIZE_WH), other)
    expected = other.cut(picture, size_wh=SIZE_WH)
    assert seen.shape == expected.shape
    assert np.abs(seen - expected).mean() < 0.02
    # Not more to one side than to the other.
    for axis in (0, 1):
        places = np.arange(seen.shape[axis])
        centres = [float((places * shown.sum(1 - axis)).sum() / shown.sum()) for shown in (seen, expected)]
        assert centres[0] == pytest.approx(centres[1], abs=0.1)


def test_what_lies_outside_of_the_first_frame_is_empty_in_the_other() -> None:
    seen = Frame(0, 0, 90, 120).seen_from(np.ones(SIZE_WH[::-1], np.float32), Frame(45, 0, 90, 120))
    assert seen[:, : SIZE_WH[0] // 2 - 2].all() and not seen[:, SIZE_WH[0] // 2 + 2 :].any()


def test_points_and_boxes_move_with_their_pixels() -> None:
    frame = Frame(-20, -7, 120, 160)
    picture = np.zeros(PICTURE_WH[::-1], np.uint8)
    picture[33, 71] = 1
    point = frame.point(Point(71.5, 33.5, positive=False))
    assert not point.positive
    assert frame.cut(picture, size_wh=SIZE_WH, labels=True)[int(point.y), int(point.x)] == 1
    assert frame.box(Box(-20, -7, 40, 153)) == Box(0, 0, SIZE_WH[0] / 2, SIZE_WH[1])


def test_labels_lie_on_what_they_name() -> None:
    # Steps of ten pixels, made three times as small, as a photograph is for the network.
    picture = np.kron(np.arange(6, dtype=np.uint8) * 40, np.ones((300, 50), np.uint8))
    frame = Frame(0, 0, 300, 300)
    pixels, labels = (frame.cut(picture, size_wh=(100, 100), labels=labels) for labels in (False, True))
    off = labels.astype(int) - pixels
    # Pixels across a border are mixed, but not more to one side than to the other.
    assert abs(off.mean()) < 0.2


def test_labels_are_not_mixed() -> None:
    picture = np.tile(np.array([0, 7], np.uint8), (60, 45))
    assert set(np.unique(Frame(3, 3, 40, 50).cut(picture, size_wh=SIZE_WH, labels=True))) == {0, 7}


def test_the_whole_picture_is_in_its_frame() -> None:
    frame = whole(PICTURE_WH)
    assert frame.left <= 0 and frame.top <= 0
    assert frame.left + frame.width >= PICTURE_WH[0] and frame.top + frame.height >= PICTURE_WH[1]


def test_the_nearer_crop_holds_the_box_and_all_clicks() -> None:
    frame = around(Box(40, 20, 50, 30), [Point(80.0, 25.0)], PICTURE_WH)
    assert frame.left < 40 and frame.left + frame.width > 80
    assert frame.top < 20 and frame.top + frame.height > 30
    assert around(None, [], PICTURE_WH) == whole(PICTURE_WH)


def test_the_nearer_crop_is_never_too_near() -> None:
    assert around(Box(40, 20, 41, 21), [], PICTURE_WH).height == round(0.2 * 90)


def test_a_frame_has_the_format_of_the_network() -> None:
    frame = fitted((100, 100, 700, 130), scale=1.0)
    assert frame.width / frame.height == pytest.approx(SIZE_WH[0] / SIZE_WH[1], abs=0.01)
    assert frame.width >= 600
