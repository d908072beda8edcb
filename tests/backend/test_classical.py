from __future__ import annotations

import cv2
import numpy as np
import pytest

from backend.domain import Box, Image, Point, Prompt
from backend.errors import PromptError
from backend.segmenters.classical import ClassicalSegmenter
from label_studio_config.demo.figures import draw_figure
from tests.support import iou

# seed, number of a garment whose cloth differs from its neighbours'
GARMENTS = [(0, 1), (2, 3), (2, 4), (3, 1), (7, 1), (7, 4)]


def inside(mask: np.ndarray[tuple[int, ...], np.dtype[np.bool_]]) -> Point:
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, 5)
    y, x = np.unravel_index(int(distance.argmax()), distance.shape)
    return Point(float(x) + 0.5, float(y) + 0.5)


@pytest.mark.parametrize(("seed", "number"), GARMENTS)
def test_one_click_finds_a_garment(seed: int, number: int) -> None:
    figure = draw_figure(seed)
    truth = figure.instances[number].mask
    image = Image(figure.pixels, "k", "s")
    (segment,) = ClassicalSegmenter().segment(image, Prompt(points=(inside(truth),)))
    assert segment.mask.shape == truth.shape
    assert iou(segment.mask, truth) >= 0.85
    assert 0 < segment.score < 1


def test_a_negative_click_takes_its_part_away() -> None:
    figure = draw_figure(1)
    image, truth = Image(figure.pixels, "k", "s"), figure.instances[1].mask
    segmenter, positive = ClassicalSegmenter(), Point(264.5, 558.5)
    negative = Point(234.5, 167.5, positive=False)
    (before,) = segmenter.segment(image, Prompt(points=(positive,)))
    (after,) = segmenter.segment(image, Prompt(points=(positive, negative)))
    assert before.mask[167, 234]
    assert not after.mask[167, 234]
    assert iou(after.mask, truth) > iou(before.mask, truth)


def test_a_box_keeps_to_itself() -> None:
    pixels = np.full((90, 160, 3), 120, np.uint8)
    pixels[20:70, 30:100] = (200, 40, 40)
    truth = pixels[..., 0] == 200
    (segment,) = ClassicalSegmenter().segment(Image(pixels, "k", "s"), Prompt(boxes=(Box(24, 14, 106, 76),)))
    assert iou(segment.mask, truth) > 0.95


def test_the_same_question_gets_the_same_answer() -> None:
    image = Image(draw_figure(4).pixels, "k", "s")
    prompt = Prompt(points=(Point(300, 300),), boxes=(Box(250, 100, 600, 500),))
    first, second = (ClassicalSegmenter().segment(image, prompt) for _ in range(2))
    assert np.array_equal(first[0].mask, second[0].mask)


def test_negative_clicks_alone_are_refused() -> None:
    image = Image(np.zeros((9, 9, 3), np.uint8), "k", "s")
    with pytest.raises(PromptError, match="Click on the garment first"):
        ClassicalSegmenter().segment(image, Prompt(points=(Point(1, 1, positive=False),)))


@pytest.mark.parametrize("xy", [(0, 0), (159.99, 89.99), (160, 90)])
def test_clicks_at_the_very_border_are_answered(xy: tuple[float, float]) -> None:
    image = Image(np.zeros((90, 160, 3), np.uint8), "k", "s")
    assert ClassicalSegmenter().segment(image, Prompt(points=(Point(*xy),)))
