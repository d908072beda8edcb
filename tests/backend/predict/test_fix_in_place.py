from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from backend.domain import Box, Image, LabelledMask, Mask, Outlining, Photo, Pixels, Point, Prompt, Segment
from backend.errors import PromptError
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.label_studio.payloads import DrawnRegions
from backend.predict.fix_in_place import MOST_TURNS, FixInPlace, merge, region_to_fix
from backend.predict.recent_fixes import RecentFixes
from backend.regions.decode import decode
from backend.regions.encode import encode
from label_studio_config.palette_xml import palette
from tests.support import iou

SIZE_WH = (200, 300)
CONFIG = parse_label_config(palette(("saree", "blouse")))
LISTS = """<View><Image name="image" value="$image"/>
  <{tag} name="t" toName="image"><Label value="saree" alias="s"/></{tag}></View>"""


def area(left: int, top: int, right: int, bottom: int) -> Mask:
    mask = np.zeros(SIZE_WH[::-1], bool)
    mask[top:bottom, left:right] = True
    return mask


def regions(
    mask: Mask, label: str = "saree", config: LabelConfig = CONFIG, *, origin: str = "manual"
) -> list[dict[str, Any]]:
    predicted = encode(LabelledMask(mask, label), config, outlining=Outlining(), model_version="v1")
    return [{**region, "origin": origin} for region in predicted]


def prompt(*points: Point, label: str | None = "saree", **given: Any) -> Prompt:
    return Prompt(points=points, label=label, **given)


def found(drawn: DrawnRegions, asked: Prompt, config: LabelConfig = CONFIG) -> str | None:
    nearest = region_to_fix(drawn, asked, config, size_wh=SIZE_WH)
    return nearest[1].region_id if nearest else None


SAREE = area(50, 50, 150, 250)


@pytest.mark.parametrize("point", [Point(100, 100), Point(100, 100, positive=False), Point(153, 150), Point(50, 46)])
def test_a_click_on_a_region_of_its_label_or_just_beside_is_about_that_region(point: Point) -> None:
    shown = regions(SAREE)
    drawn = DrawnRegions(predictions=[{"result": shown, "updated_at": "2026"}])
    assert found(drawn, prompt(point)) == shown[0]["id"]
    nearest = region_to_fix(drawn, prompt(point), CONFIG, size_wh=SIZE_WH)
    assert nearest is not None and nearest[0] < 5
    assert nearest[1].label == "saree" and iou(nearest[1].mask, SAREE) > 0.99


@pytest.mark.parametrize(
    "asked",
    [
        prompt(Point(100, 20), label="blouse"),
        prompt(Point(199, 299)),
        prompt(Point(100, 100), label="blouse"),
        prompt(Point(100, 100), label=None),
        prompt(Point(100, 100), boxes=(Box(50, 50, 150, 250),)),
        prompt(Point(100, 100), words=("silk saree",)),
        prompt(),
    ],
)
def test_other_prompts_are_about_a_new_garment(asked: Prompt) -> None:
    assert found(DrawnRegions(predictions=[{"result": regions(SAREE)}]), asked) is None


def test_what_is_saved_counts_before_what_was_predicted_and_the_last_of_each() -> None:
    one, two, three = (regions(SAREE) for _ in range(3))
    versions = [{"result": one, "updated_at": "2026-02"}, {"result": two, "updated_at": "2026-01"}]
    asked = prompt(Point(100, 100))
    assert found(DrawnRegions(predictions=versions), asked) == one[0]["id"]
    assert found(DrawnRegions(predictions=versions, annotations=[{"result": three}]), asked) == three[0]["id"]
    skipped = [{"result": [], "was_cancelled": True}]
    assert found(DrawnRegions(predictions=versions, annotations=skipped), asked) == one[0]["id"]
    # The annotator has removed every region.
    assert found(DrawnRegions(predictions=versions, drafts=[{"result": []}]), asked) is None


def test_of_several_regions_the_smallest_under_the_click_is_meant_or_else_the_nearest() -> None:
    large, small = regions(area(20, 20, 180, 280)), regions(area(80, 80, 120, 120))
    drawn = DrawnRegions(drafts=[{"result": [*small, *large]}])
    assert found(drawn, prompt(Point(100, 100))) == small[0]["id"]
    assert found(drawn, prompt(Point(60, 200))) == large[0]["id"]
    left, right = regions(area(20, 20, 96, 200)), regions(area(103, 20, 180, 200))
    assert found(DrawnRegions(drafts=[{"result": [*left, *right]}]), prompt(Point(101, 100))) == right[0]["id"]


@pytest.mark.parametrize("tag", ["PolygonLabels", "BrushLabels", "BitmaskLabels"])
def test_every_kind_of_region_with_pixels_is_corrected_also_under_an_alias(tag: str) -> None:
    config = parse_label_config(LISTS.format(tag=tag))
    shown = regions(SAREE, config=config)
    assert found(DrawnRegions(drafts=[{"result": shown}]), prompt(Point(100, 100)), config) == shown[0]["id"]


def test_rectangles_damaged_regions_and_those_of_other_images_are_no_masks_to_correct() -> None:
    config = parse_label_config(LISTS.format(tag="RectangleLabels"))
    asked = prompt(Point(100, 100))
    assert found(DrawnRegions(drafts=[{"result": regions(SAREE, config=config)}]), asked, config) is None
    other = [{**region, "original_width": 999} for region in regions(SAREE)]
    damaged = [{**region, "value": {"points": "no", "labels": ["saree"]}} for region in regions(SAREE)]
    for result in (other, damaged, ["nothing"], None):
        assert found(DrawnRegions(drafts=[{"result": result}]), asked) is None


def test_only_changes_at_a_click_of_their_sign_are_kept() -> None:
    before = area(50, 50, 150, 250)
    # The answer adds to the right, adds far away, and loses the upper half.
    after = area(50, 150, 180, 250) | area(10, 280, 40, 295)
    added = merge(before, after, [Point(165, 200)])
    assert np.array_equal(added, before | area(150, 150, 180, 250))
    taken = merge(before, after, [Point(100, 100, positive=False)])
    assert np.array_equal(taken, area(50, 150, 150, 250))
    both = merge(before, after, [Point(165, 200), Point(100, 100, positive=False)])
    assert np.array_equal(both, area(50, 150, 180, 250))
    assert np.array_equal(merge(before, after, [Point(100, 200)]), before)


class Sam:
    """A segmenter that takes no mask; finds what is red and holds a click, as wide as the picture."""

    name = "sam"

    def __init__(self) -> None:
        self.asked: list[Prompt] = []

    def segment(self, image: Photo, prompt: Prompt) -> list[Segment]:
        self.asked.append(prompt)
        return [Segment(image.pixels[..., 0] == 180, 0.9)]


class Corrector(Sam):
    """A segmenter that corrects: it answers with what is red."""

    def correct(self, image: Photo, mask: Mask, points: tuple[Point, ...]) -> Mask:
        return image.pixels[..., 0] == 180


def exclusive_saree() -> LabelConfig:
    return parse_label_config(
        palette(("saree", "blouse")).replace('<Label value="saree"', '<Label value="saree" exclusive="true"')
    )


def mask_of(answer: list[dict[str, Any]] | None) -> LabelledMask | None:
    """The answer as one mask; a fixed region keeps its id and its label."""
    if answer is None:
        return None
    masks, problems = decode(answer)
    assert not problems
    return replace(masks[0], mask=np.logical_or.reduce([mask.mask for mask in masks]))


def asked_of(segmenter: Sam, pixels: Pixels, before: Mask, point: Point) -> LabelledMask | None:
    drawn = DrawnRegions(drafts=[{"result": regions(before)}])
    fixing = FixInPlace(segmenter, RecentFixes())
    return mask_of(fixing.fix(Image(pixels, "k", "s"), 1, drawn, prompt(point), CONFIG, Outlining()))


def red_on_grey(red: Mask) -> Pixels:
    pixels = np.full((*SIZE_WH[::-1], 3), 120, np.uint8)
    pixels[red] = (180, 30, 40)
    return pixels


@pytest.mark.parametrize("segmenter", [Sam(), Corrector()])
def test_a_click_adds_what_joins_the_region_and_changes_nothing_else(segmenter: Sam) -> None:
    before = area(50, 50, 150, 200) | area(150, 60, 160, 70)
    after = asked_of(segmenter, red_on_grey(area(50, 50, 150, 250)), before, Point(100, 230))
    assert after is not None and after.score is None
    assert iou(after.mask, before | area(50, 50, 150, 250)) > 0.99
    for asked in segmenter.asked:
        # What the clicks are about is told by one in the region's middle.
        assert before[int(asked.points[0].y), int(asked.points[0].x)] and asked.points[1] == Point(100, 230)


def test_what_a_model_predicted_is_drawn_anew_and_what_a_person_changed_is_not() -> None:
    truth, before = area(50, 50, 150, 250), area(50, 70, 160, 200)
    image, asked = Image(red_on_grey(truth), "k", "s"), prompt(Point(100, 230))
    expected = {
        "prediction": truth,
        "prediction-changed": before | area(50, 200, 150, 250),
        "manual": before | area(50, 200, 150, 250),
    }
    for origin, mask in expected.items():
        drawn = DrawnRegions(drafts=[{"result": regions(before, origin=origin)}])
        after = mask_of(FixInPlace(Corrector(), RecentFixes()).fix(image, 1, drawn, asked, CONFIG, Outlining()))
        assert after is not None and iou(after.mask, mask) > 0.99, origin


def test_an_exclusive_label_adds_no_pixel_of_another_region() -> None:
    config = exclusive_saree()
    before = area(50, 50, 150, 150)
    other = regions(area(50, 200, 150, 250), "blouse", config)
    drawn = DrawnRegions(drafts=[{"result": [*regions(before, config=config), *other]}])
    image = Image(red_on_grey(area(50, 50, 150, 250)), "k", "s")
    fixing = FixInPlace(Corrector(), RecentFixes())
    after = mask_of(fixing.fix(image, 1, drawn, prompt(Point(100, 170)), config, Outlining()))
    assert after is not None and iou(after.mask, area(50, 50, 150, 200)) > 0.98


def test_a_click_on_what_another_region_has_is_not_answered_with_the_same_region() -> None:
    config = exclusive_saree()
    other = regions(area(50, 150, 150, 250), "blouse", config)
    drawn = DrawnRegions(drafts=[{"result": [*regions(area(50, 50, 150, 150), config=config), *other]}])
    image = Image(red_on_grey(area(50, 50, 150, 250)), "k", "s")
    with pytest.raises(PromptError, match="Nothing changes there"):
        FixInPlace(Corrector(), RecentFixes()).fix(image, 1, drawn, prompt(Point(100, 200)), config, Outlining())


def test_dozens_of_clicks_take_few_looks() -> None:
    segmenter, drawn = Sam(), DrawnRegions(drafts=[{"result": regions(area(50, 50, 150, 200))}])
    points = [Point(60.0 + n, 230) for n in range(60)]
    image = Image(red_on_grey(area(50, 50, 150, 250)), "k", "s")
    assert FixInPlace(segmenter, RecentFixes()).fix(image, 1, drawn, prompt(*points), CONFIG, Outlining())
    assert len(segmenter.asked) <= 2 * (MOST_TURNS + 1)


def test_a_click_that_finds_something_apart_from_the_region_asks_for_a_new_garment() -> None:
    red = area(50, 50, 150, 150) | area(50, 180, 150, 280)
    assert asked_of(Corrector(), red_on_grey(red), area(50, 50, 150, 150), Point(100, 190)) is None


def test_a_first_click_that_adds_nothing_asks_for_a_new_garment_and_so_do_those_that_follow() -> None:
    image, drawn = Image(red_on_grey(SAREE), "k", "s"), DrawnRegions(drafts=[{"result": regions(SAREE)}])
    fixing = FixInPlace(Corrector(), RecentFixes())
    for points in ((Point(100, 100),), (Point(100, 100), Point(60, 60, positive=False))):
        assert fixing.fix(image, 1, drawn, prompt(*points), CONFIG, Outlining()) is None


def test_a_click_that_takes_nothing_away_and_one_that_takes_all_are_said() -> None:
    with pytest.raises(PromptError, match="Nothing changes there"):
        asked_of(Corrector(), red_on_grey(SAREE), SAREE, Point(100, 100, positive=False))
    grey = red_on_grey(area(0, 0, 0, 0))
    with pytest.raises(PromptError, match="Nothing of the region would be left"):
        asked_of(Corrector(), grey, SAREE, Point(100, 100, positive=False))


class Stubborn(Corrector):
    """A segmenter that keeps the mask, but finds what is red by a click."""

    def correct(self, image: Photo, mask: Mask, points: tuple[Point, ...]) -> Mask:
        return mask


def test_what_a_segmenter_would_not_change_is_what_it_finds_there() -> None:
    before = area(50, 50, 150, 200)
    added = asked_of(Stubborn(), red_on_grey(area(50, 190, 150, 250)), before, Point(100, 230))
    assert added is not None and iou(added.mask, area(50, 50, 150, 250)) > 0.99
    after = asked_of(Stubborn(), red_on_grey(area(50, 200, 150, 250)), SAREE, Point(100, 220, positive=False))
    assert after is not None and iou(after.mask, area(50, 50, 150, 200)) > 0.99


class StubbornAtFirst(Stubborn):
    """One that keeps the mask, and finds nothing by a single click; by several it finds what is red."""

    def segment(self, image: Photo, prompt: Prompt) -> list[Segment]:
        return super().segment(image, prompt) if len(prompt.points) > 1 else []


def test_a_predicted_region_that_nothing_changes_is_drawn_anew_from_the_clicks_alone() -> None:
    """Such as one that holds two garments: a click that takes one away leaves the other."""
    segmenter, red, point = StubbornAtFirst(), area(50, 50, 150, 120), Point(100, 220, positive=False)
    image = Image(red_on_grey(red), "k", "s")
    drawn = DrawnRegions(predictions=[{"result": regions(SAREE, origin="prediction")}])
    after = mask_of(FixInPlace(segmenter, RecentFixes()).fix(image, 1, drawn, prompt(point), CONFIG, Outlining()))
    assert after is not None and iou(after.mask, red) > 0.99
    middle = segmenter.asked[-1].points[0]
    assert middle.positive and abs(middle.y - point.y) > 40
    # What a person drew stays, and so does what the answer would leave where it was to go.
    with pytest.raises(PromptError, match="Nothing changes there"):
        asked_of(StubbornAtFirst(), image.pixels, SAREE, point)
    everything = Image(red_on_grey(SAREE), "k", "s")
    with pytest.raises(PromptError, match="Nothing changes there"):
        FixInPlace(segmenter, RecentFixes()).fix(everything, 1, drawn, prompt(point), CONFIG, Outlining())


def test_a_second_fix_goes_on_from_the_first_though_label_studio_has_not_saved_it() -> None:
    drawn = DrawnRegions(predictions=[{"result": regions(area(50, 50, 150, 150))}])
    image = Image(red_on_grey(area(50, 50, 190, 250)), "k", "s")
    fixing = FixInPlace(Corrector(), RecentFixes())
    first = mask_of(fixing.fix(image, 1, drawn, prompt(Point(100, 170)), CONFIG, Outlining()))
    assert first is not None and iou(first.mask, area(50, 50, 190, 250)) > 0.99
    grey = Image(red_on_grey(area(50, 100, 190, 250)), "k", "s")
    second = mask_of(fixing.fix(grey, 1, drawn, prompt(Point(100, 60, positive=False)), CONFIG, Outlining()))
    assert second is not None and iou(second.mask, area(50, 100, 190, 250)) > 0.99


def test_a_part_that_breaks_off_is_a_region_of_its_own_and_is_not_drawn_twice() -> None:
    shown = regions(area(50, 50, 150, 250))
    drawn = DrawnRegions(predictions=[{"result": shown}])
    fixing = FixInPlace(Corrector(), RecentFixes())
    cut = Image(red_on_grey(area(50, 50, 150, 120) | area(50, 170, 150, 250)), "k", "s")
    first = fixing.fix(cut, 1, drawn, prompt(Point(100, 145, positive=False)), CONFIG, Outlining())
    assert first is not None and len({region["id"] for region in first}) == 2
    # Label Studio has saved neither part yet.
    smaller = Image(red_on_grey(area(80, 170, 150, 250)), "k", "s")
    second = fixing.fix(smaller, 1, drawn, prompt(Point(60, 200, positive=False)), CONFIG, Outlining())
    assert second is not None and {region["id"] for region in second} == {shown[0]["id"]}
    masks, _ = decode(second)
    assert iou(masks[0].mask, area(80, 170, 150, 250)) > 0.98


def test_a_part_of_a_group_stays_in_it_and_all_that_breaks_off() -> None:
    shown = [{**region, "parentID": "root"} for region in regions(area(50, 50, 150, 250))]
    fixing = FixInPlace(Corrector(), RecentFixes())
    cut = Image(red_on_grey(area(50, 50, 150, 120) | area(50, 170, 150, 250)), "k", "s")
    asked = prompt(Point(100, 145, positive=False))
    answer = fixing.fix(cut, 1, DrawnRegions(drafts=[{"result": shown}]), asked, CONFIG, Outlining())
    assert answer is not None and {region["parentID"] for region in answer} == {"root"}


def test_an_exclusive_region_gets_its_own_pixels_back_before_label_studio_has_saved() -> None:
    config = exclusive_saree()
    drawn = DrawnRegions(drafts=[{"result": regions(area(50, 50, 150, 250), config=config)}])
    fixing = FixInPlace(Corrector(), RecentFixes())
    asked = prompt(Point(100, 220, positive=False))
    assert fixing.fix(Image(red_on_grey(area(50, 50, 150, 200)), "k", "s"), 1, drawn, asked, config, Outlining())
    back = Image(red_on_grey(area(50, 50, 150, 250)), "k", "s")
    answer = mask_of(fixing.fix(back, 1, drawn, prompt(Point(100, 220)), config, Outlining()))
    assert answer is not None and iou(answer.mask, area(50, 50, 150, 250)) > 0.98
