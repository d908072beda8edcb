from __future__ import annotations

import numpy as np
import pytest

from backend.domain import Point
from training.prompt_network.frames import SIZE_WH, Frame, around, fitted, whole

PICTURE_WH = (90, 60)


def found(left: int, top: int, right: int, bottom: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    mask = np.zeros(PICTURE_WH[::-1], bool)
    mask[top:bottom, left:right] = True
    return mask


@pytest.mark.parametrize("frame", [Frame(10, 5, 30, 40), Frame(-20, -7, 120, 160), whole(PICTURE_WH)])
def test_what_is_cut_is_placed_where_it_was(frame: Frame) -> None:
    picture = np.zeros(PICTURE_WH[::-1], np.float32)
    picture[20:40, 20:30] = 1
    cut = frame.cut(picture, size_wh=(frame.width * 2, frame.height * 2))
    assert cut.shape == (frame.height * 2, frame.width * 2)
    placed = frame.place(cut, PICTURE_WH)
    assert placed.shape == picture.shape
    assert np.array_equal(placed > 0.5, picture > 0.5)


def test_a_point_moves_with_its_pixel() -> None:
    frame = Frame(-20, -7, 120, 160)
    picture = np.zeros(PICTURE_WH[::-1], np.uint8)
    picture[33, 71] = 1
    point = frame.point(Point(71.5, 33.5, positive=False), size_wh=(240, 320))
    assert not point.positive
    assert frame.cut(picture, size_wh=(240, 320), labels=True)[int(point.y), int(point.x)] == 1


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


def test_the_nearer_crop_holds_the_mask_and_all_clicks() -> None:
    frame = around(found(40, 20, 50, 30), [Point(80.0, 25.0)])
    assert frame.left < 40 and frame.left + frame.width > 80
    assert frame.top < 20 and frame.top + frame.height > 30
    assert around(found(0, 0, 0, 0), []) == whole(PICTURE_WH)


def test_the_nearer_crop_is_never_too_near() -> None:
    assert around(found(40, 20, 41, 21), []).height == round(0.2 * 90)


def test_a_frame_has_the_format_of_the_network() -> None:
    frame = fitted((100, 100, 700, 130), scale=1.0)
    assert frame.width / frame.height == pytest.approx(SIZE_WH[0] / SIZE_WH[1], abs=0.01)
    assert frame.width >= 600
