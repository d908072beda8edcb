from __future__ import annotations

import numpy as np
import pytest
import shapely

from backend.domain import Mask, Outlining
from backend.regions.mask_borders import trace, without_specks
from backend.regions.polygons import MAX_PARTS, Outline, decimals, joined_outline, mask_to_outlines, outline_to_mask
from label_studio_config.demo.figures import draw_figure
from tests.support import iou, shapes

SEEDS = range(10)
DEFAULT = Outlining()


def painted(outlines: list[Outline], mask: Mask) -> Mask:
    height, width = mask.shape
    return np.logical_or.reduce([outline_to_mask(outline, size_wh=(width, height)) for outline in outlines])


def boundary_error_px(outlines: list[Outline], mask: Mask) -> float:
    """Hausdorff distance of the mask's pixel border and the outlines, by Shapely, sampled every tenth of a pixel."""
    border = shapely.MultiLineString([shapely.LinearRing(one.corners()) for one in trace(mask) if one.area_px > 0])
    outline = shapely.MultiLineString([shapely.LinearRing(one) for one in outlines])
    away = []
    for one, other in ((border, outline), (outline, border)):
        shapely.prepare(other)
        points = shapely.points(shapely.get_coordinates(shapely.segmentize(one, 0.1)))
        away.append(float(shapely.distance(points, other).max()))
    return max(away)


def garments(seed: int) -> list[Mask]:
    return [instance.mask for instance in draw_figure(seed).instances]


@pytest.mark.parametrize("tolerance_px", [0.8, 1.0, 1.2, 1.5])
@pytest.mark.parametrize("seed", SEEDS)
def test_garments_keep_their_area_and_border_and_no_outline_meets_itself(seed: int, tolerance_px: float) -> None:
    for mask in garments(seed):
        tidy = without_specks(mask, speck_px=DEFAULT.speck_px(mask.size))
        outlines = mask_to_outlines(mask, Outlining(tolerance_px=tolerance_px))
        assert iou(painted(outlines, mask), tidy) >= 0.985
        # Half a step of the search for the nearest place on the border is the slack.
        assert boundary_error_px(outlines, tidy) <= tolerance_px + 0.03
        assert all(shapely.Polygon(outline).is_valid for outline in outlines)


@pytest.mark.slow
def test_garments_have_few_vertices() -> None:
    counts = [
        sum(len(outline) for outline in mask_to_outlines(mask, DEFAULT))
        for seed in range(30)
        for mask in garments(seed)
    ]
    assert np.percentile(counts, 95) <= 60


@pytest.mark.parametrize("seed", range(24))
def test_noise_becomes_valid_outlines_too(seed: int) -> None:
    rng = np.random.default_rng(seed)
    mask = rng.random((rng.integers(1, 30), rng.integers(1, 40))) < rng.uniform(0.2, 0.9)
    mask[0, 0] = True
    outlines = mask_to_outlines(mask, Outlining(tolerance_px=float(rng.choice([0, 0.5, 1.2]))))
    assert outlines
    assert all(shapely.Polygon(outline).is_valid and shapely.Polygon(outline).area > 0 for outline in outlines)


@pytest.mark.parametrize(("name", "mask"), sorted(shapes().items()))
def test_without_tolerance_the_pixels_themselves_are_followed(name: str, mask: Mask) -> None:
    outlines = mask_to_outlines(mask, Outlining(tolerance_px=0))
    assert np.array_equal(painted(outlines, mask), mask)


def test_a_rectangle_keeps_its_corners_on_the_pixels_edges() -> None:
    mask = np.zeros((60, 100), bool)
    mask[10:50, 20:75] = True
    (outline,) = mask_to_outlines(mask, DEFAULT)
    assert len(outline) == 4
    corners = np.array([[20, 10], [75, 10], [75, 50], [20, 50]])
    # Within what a percentage of two decimals can say.
    assert np.linalg.norm(corners[:, None] - outline[None], axis=2).min(axis=1).max() < 0.01


def test_a_slanting_border_has_no_staircase() -> None:
    corners = np.array([[10.0, 20.0], [190.0, 47.0], [150.0, 130.0], [30.0, 100.0]])
    (outline,) = mask_to_outlines(outline_to_mask(corners, size_wh=(200, 140)), DEFAULT)
    # One more where a tip is blunted.
    assert len(outline) <= 5
    assert np.linalg.norm(corners[:, None] - outline[None], axis=2).min(axis=1).max() < 0.8


def test_a_garment_cut_in_two_by_an_arm_keeps_both_parts() -> None:
    mask = shapes()["disk"].copy()
    mask[:, 38:43] = False
    assert len(mask_to_outlines(mask, DEFAULT)) == 2
    assert len(mask_to_outlines(mask, Outlining(parts="largest"))) == 1
    (joined,) = mask_to_outlines(mask, Outlining(parts="joined"))
    assert shapely.Polygon(joined).is_valid
    assert iou(painted([joined], mask), mask) >= 0.97


def with_hole(side: int) -> Mask:
    mask = np.zeros((120, 150), bool)
    mask[10:110, 20:120] = True
    mask[50 : 50 + side, 60 : 60 + side] = False
    return mask


def test_a_large_hole_is_cut_open_and_a_small_one_filled() -> None:
    (cut,) = mask_to_outlines(with_hole(40), DEFAULT)
    assert shapely.Polygon(cut).is_valid
    assert iou(painted([cut], with_hole(40)), with_hole(40)) >= 0.975
    assert not painted([cut], with_hole(40))[70, 80]
    (filled,) = mask_to_outlines(with_hole(9), DEFAULT)
    assert len(filled) == 4


def test_what_lies_in_a_hole_that_is_filled_is_no_part() -> None:
    mask = with_hole(9)
    mask[53:56, 63:66] = True
    assert len(mask_to_outlines(mask, Outlining(speck_percent=0))) == 1


def test_one_outline_runs_around_all_parts() -> None:
    outline = joined_outline(shapes()["two"], tolerance_px=0.7)
    assert shapely.Polygon(outline).is_valid
    assert iou(outline_to_mask(outline, size_wh=(97, 60)), shapes()["two"]) > 0.98


@pytest.mark.parametrize("seed", range(20))
def test_painting_is_that_of_the_pixels_middles(seed: int) -> None:
    outline = np.random.default_rng(seed).uniform(-5, 30, (7, 2))
    columns, rows = np.meshgrid(np.arange(24) + 0.5, np.arange(17) + 0.5)
    # Even-odd, by counting edges to the left.
    start, end = outline[:, None, None], np.roll(outline, -1, axis=0)[:, None, None]
    spans = (start[..., 1] <= rows) != (end[..., 1] <= rows)
    meets = start[..., 0] + (rows - start[..., 1]) * (end - start)[..., 0] / (end - start)[..., 1]
    expected = (spans & (meets < columns)).sum(axis=0) % 2 == 1
    assert np.array_equal(outline_to_mask(outline, size_wh=(24, 17)), expected)


def test_percentages_tell_a_twentieth_of_a_pixel() -> None:
    assert [decimals((3, height)) for height in (4, 50, 500, 501, 5000)] == [0, 1, 2, 3, 3]


def test_an_empty_mask_has_no_outline() -> None:
    assert mask_to_outlines(np.zeros((5, 9), bool), DEFAULT) == []


def test_of_a_mask_that_is_all_noise_only_the_largest_parts_are_drawn() -> None:
    mask = np.random.default_rng(0).random((300, 400)) < 0.5
    outlines = mask_to_outlines(mask, Outlining(speck_percent=0))
    assert len(outlines) == MAX_PARTS
    assert shapely.Polygon(outlines[0]).area >= shapely.Polygon(outlines[-1]).area
