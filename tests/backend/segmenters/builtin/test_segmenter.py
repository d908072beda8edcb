from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from backend.domain import Box, Image, Mask, Pixels, Point, Prompt
from backend.errors import PromptError
from backend.segmenters.builtin.prompt_maps import Probabilities, PromptMaps
from backend.segmenters.builtin.segmenter import BuiltinSegmenter

GARMENT, OTHER = (200, 40, 40), (40, 40, 200)


class ColourNetwork:
    """Finds what has the colour under a positive click, in the box, or of the mask so far; keeps what it was shown."""

    def __init__(self) -> None:
        self.shown: list[PromptMaps] = []

    def __call__(self, pixels: Pixels, maps: PromptMaps) -> Probabilities:
        self.shown.append(maps)
        positive, negative, box, last = maps
        found = np.zeros(pixels.shape[:2], bool)
        for meant in (positive, box, last > 0.9) if not positive.any() else (positive,):
            if meant.any():
                rows, columns = np.nonzero(meant)
                colour = pixels[int(np.median(rows)), int(np.median(columns))].astype(int)
                found |= np.abs(pixels - colour).max(2) < 40
                break
        return np.where(found & (negative == 0), 0.9, 0.1).astype(np.float32)


def picture() -> tuple[Image, Mask, Mask]:
    pixels = np.full((600, 450, 3), 120, np.uint8)
    garment, other = np.zeros((2, 600, 450), bool)
    garment[100:300, 50:250] = True
    other[350:500, 200:400] = True
    pixels[garment], pixels[other] = GARMENT, OTHER
    return Image(pixels, "key", "source"), garment, other


def iou(found: Mask, truth: Mask) -> float:
    return float((found & truth).sum() / (found | truth).sum())


def test_each_click_takes_two_nearer_looks_with_the_mask_so_far_and_the_first_one_of_the_whole_picture() -> None:
    image, garment, other = picture()
    network = ColourNetwork()
    segmenter = BuiltinSegmenter(network)
    points = (Point(150.0, 200.0),)
    (segment,) = segmenter.segment(image, Prompt(points=points))
    assert iou(segment.mask, garment) > 0.97 and segment.score == pytest.approx(0.9)
    assert len(network.shown) == 3
    assert not network.shown[0][3].any() and network.shown[1][3].any() and network.shown[2][3].any()
    segmenter.segment(image, Prompt(points=(*points, Point(70.0, 120.0, positive=False))))
    assert len(network.shown) == 5 and network.shown[3][1].any() and network.shown[3][3].any()
    # Another garment begins anew.
    (segment,) = segmenter.segment(image, Prompt(points=(Point(300.0, 400.0),)))
    assert iou(segment.mask, other) > 0.97
    assert len(network.shown) == 8 and not network.shown[5][3].any()


def test_an_answer_does_not_depend_on_what_was_asked_before() -> None:
    image, _, _ = picture()
    points = (Point(150.0, 200.0), Point(70.0, 120.0, positive=False), Point(240.0, 290.0))
    in_turn = BuiltinSegmenter(ColourNetwork())
    for count in (1, 2, 3):
        last = in_turn.segment(image, Prompt(points=points[:count]))
    (at_once,) = BuiltinSegmenter(ColourNetwork()).segment(image, Prompt(points=points))
    assert np.array_equal(last[0].mask, at_once.mask) and last[0].score == at_once.score


def test_each_garment_is_answered_as_if_nothing_had_been_asked_before() -> None:
    image, _, _ = picture()
    # Of the same file, so that both have its key; and another photograph of the same size.
    reduced = replace(image, pixels=np.ascontiguousarray(image.pixels[::2, ::2]))
    mirrored = replace(image, pixels=np.ascontiguousarray(image.pixels[:, ::-1]), key="other")
    asked = [
        (one, Point(share_x * one.size_wh[0], share_y * one.size_wh[1]))
        for one in (image, reduced, mirrored)
        for share_x, share_y in [(0.33, 0.33), (0.67, 0.33), (0.67, 0.7)]
    ]
    segmenter = BuiltinSegmenter(ColourNetwork())
    for one, point in asked:
        (later,) = segmenter.segment(one, Prompt((point,)))
        (alone,) = BuiltinSegmenter(ColourNetwork()).segment(one, Prompt((point,)))
        assert np.array_equal(later.mask, alone.mask)


def test_many_clicks_in_turn_get_the_same_answer_as_all_at_once() -> None:
    image, _, _ = picture()
    # Of many clicks the first are answered together: such an answer is another than those in turn.
    points = tuple(Point(60.0 + 7 * n, 110.0 + 5 * n, positive=n % 3 != 1) for n in range(26))
    in_turn = BuiltinSegmenter(ColourNetwork())
    for count in range(1, len(points) + 1):
        (last,) = in_turn.segment(image, Prompt(points=points[:count]))
    (at_once,) = BuiltinSegmenter(ColourNetwork()).segment(image, Prompt(points=points))
    assert np.array_equal(last.mask, at_once.mask)


def test_hundreds_of_clicks_take_as_many_looks_as_twenty() -> None:
    image, garment, _ = picture()
    network = ColourNetwork()
    points = tuple(Point(60.0 + 10 * (n % 18), 110.0 + n % 180) for n in range(400))
    (segment,) = BuiltinSegmenter(network).segment(image, Prompt(points=points))
    assert iou(segment.mask, garment) > 0.97 and len(network.shown) < 50


def test_a_box_is_seen_near_at_once() -> None:
    image, garment, _ = picture()
    network = ColourNetwork()
    (segment,) = BuiltinSegmenter(network).segment(image, Prompt(boxes=(Box(45, 95, 255, 305),)))
    assert iou(segment.mask, garment) > 0.97
    # The box fills most of what the network sees; at last, what was found is clicked in its middle.
    assert network.shown[0][2].mean() > 0.3 and not network.shown[1][0].any()
    (rows, columns) = np.nonzero(network.shown[2][0])
    assert len(network.shown) == 3 and (rows.mean(), columns.mean()) == pytest.approx((128, 96), abs=12)


def test_several_boxes_are_one_mask_and_clicks_belong_to_the_box_around_them() -> None:
    image, garment, other = picture()
    boxes = (Box(50, 100, 250, 300), Box(200, 350, 400, 500))
    (segment,) = BuiltinSegmenter(ColourNetwork()).segment(image, Prompt((Point(300.0, 420.0),), boxes))
    assert iou(segment.mask, garment | other) > 0.95


def test_a_mask_is_refined_from_a_crop_around_it() -> None:
    image, garment, _ = picture()
    rough = np.zeros_like(garment)
    rough[120:280, 80:230] = True
    network = ColourNetwork()
    assert iou(BuiltinSegmenter(network).refine(image, rough), garment) > 0.97
    assert len(network.shown) == 1 and network.shown[0][3].any()


def test_a_mask_in_which_nothing_is_found_stays() -> None:
    image, garment, _ = picture()
    assert np.array_equal(BuiltinSegmenter(lambda _, maps: maps[0]).refine(image, garment), garment)


def test_where_nothing_is_found_there_is_no_segment() -> None:
    image, _, _ = picture()
    assert BuiltinSegmenter(lambda _, maps: np.zeros_like(maps[0])).segment(image, Prompt((Point(9.0, 9.0),))) == []


@pytest.mark.parametrize("size_wh", [(1, 1), (1, 2), (3, 3), (1, 300), (2000, 3), (16, 16), (97, 60)])
def test_any_prompt_on_a_picture_of_any_size_is_answered(size_wh: tuple[int, int]) -> None:
    width, height = size_wh
    image = Image(np.random.default_rng(0).integers(0, 256, (height, width, 3)).astype(np.uint8), "k", "s")
    segmenter = BuiltinSegmenter(ColourNetwork())
    for x, y in [(0.0, 0.0), (float(width), float(height)), (width / 2, height / 2)]:
        points = Point(x, y), Point(width - x, height - y, positive=False)
        for boxes in [(), (Box(0, 0, width, height),), (Box(0, 0, width / 2, height / 3),)]:
            for segment in segmenter.segment(image, Prompt(points=points, boxes=boxes)):
                assert segment.mask.shape == (height, width) and segment.mask.dtype == bool
                assert 0 <= segment.score <= 1


def test_negative_clicks_alone_are_refused() -> None:
    image, _, _ = picture()
    with pytest.raises(PromptError, match="Click on the garment first"):
        BuiltinSegmenter(ColourNetwork()).segment(image, Prompt((Point(1, 1, positive=False),)))
