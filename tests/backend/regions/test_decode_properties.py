"""Whatever stands in an annotation, its regions are masks or problems; and what we write, we read again."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.auto_accept.marks import accepted_by, accepted_regions
from backend.domain import LabelledMask, Mask, Outlining
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.payloads import DrawnRegions
from backend.regions.content_hash import content_hash
from backend.regions.decode import decode
from backend.regions.encode import encode
from backend.regions.exclusive import occupied_pixels
from backend.regions.mask_borders import without_specks
from tests.backend.junk import ANY_JSON, DRAWN, REGIONS, RESULTS
from tests.support import iou

SIZE_WH = (97, 60)


@st.composite
def masks(draw: Callable[..., Any]) -> Mask:
    """A few boxes and ellipses, added and taken away, in an image that is not square."""
    width, height = SIZE_WH
    rows, columns = np.indices((height, width))
    mask = np.zeros((height, width), bool)
    for _ in range(draw(st.integers(1, 4))):
        x, y = draw(st.integers(0, width - 1)), draw(st.integers(0, height - 1))
        wide, high = draw(st.integers(1, 50)), draw(st.integers(1, 40))
        if draw(st.booleans()):
            shape = (np.abs(columns - x) < wide) & (np.abs(rows - y) < high)
        else:
            shape = ((columns - x) / wide) ** 2 + ((rows - y) / high) ** 2 < 1
        mask = mask | shape if draw(st.booleans()) else mask & ~shape
    return mask


@given(st.one_of(RESULTS, st.lists(ANY_JSON, max_size=4)))
def test_regions_are_masks_or_problems(result: list[Any]) -> None:
    found, problems = decode(result)
    assert all(one.mask.dtype == bool and one.mask.any() for one in found)
    assert all(isinstance(problem, str) and problem for problem in problems)
    assert len(found) + len(problems) <= len(result)
    assert len(content_hash(result)) == 64
    assert accepted_by({"result": result}) is None


@given(DRAWN, DRAWN)
def test_what_is_drawn_takes_pixels_of_its_own_image(drafts: list[Any], annotations: list[Any]) -> None:
    taken = occupied_pixels(DrawnRegions(drafts=drafts, annotations=annotations), SIZE_WH)
    assert taken.shape == SIZE_WH[::-1] and taken.dtype == bool


@given(st.lists(REGIONS, min_size=1, max_size=3), st.sampled_from(["v1", "yolo11n-seg-v2-abcdef"]))
def test_what_was_accepted_is_known_again_until_it_is_changed(result: list[dict[str, Any]], version: str) -> None:
    regions = accepted_regions([{**one, "type": "polygonlabels", "score": 0.9} for one in result], version)
    assert accepted_by({"result": regions}) == version
    assert accepted_by({"result": [*regions, {"type": "polygonlabels", "value": {"points": []}}]}) is None


@given(masks(), st.sampled_from(["polygon", "brush", "bitmask"]))
def test_what_is_written_is_read_again(mask: Mask, kind: str) -> None:
    tag = f"{kind.capitalize()}Labels"
    config = parse_label_config(
        f'<View><Image name="i" value="$i"/><{tag} name="t" toName="i"><Label value="a"/></{tag}></View>'
    )
    outlining = Outlining()
    regions = encode(LabelledMask(mask, "a"), config, outlining=outlining, model_version="m")
    found, problems = decode(json.loads(json.dumps(regions)))
    assert not problems and bool(found) is bool(mask.any())
    if found:
        tidy = without_specks(mask, speck_px=outlining.speck_px(mask.size))
        again = np.logical_or.reduce([one.mask for one in found])
        assert iou(again, tidy) == 1 if kind != "polygon" else iou(again, tidy) >= 0.985


def drawn_on(side_px: int) -> dict[str, Any]:
    value = {"points": [[0, 0], [90, 0], [90, 90]], "polygonlabels": ["a"]}
    return {"type": "polygonlabels", "original_width": side_px, "original_height": side_px, "value": value}


def peak_of(drawn: DrawnRegions, size_wh: tuple[int, int]) -> int:
    tracemalloc.start()
    try:
        assert occupied_pixels(drawn, size_wh).any() == (size_wh == (3000, 3000))
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# Size of the open image, of the image that the regions claim, how many they are.
CLAIMS = [((100, 100), 16_000, 200), ((3000, 3000), 3000, 40)]


@pytest.mark.parametrize(("size_wh", "claimed", "count"), CLAIMS)
def test_many_regions_take_the_memory_of_a_few(size_wh: tuple[int, int], claimed: int, count: int) -> None:
    result = [{**drawn_on(claimed), "id": str(number)} for number in range(count)]
    # All at once they would be 51 GB, and 360 MB.
    assert peak_of(DrawnRegions(drafts=[{"result": result}]), size_wh) < 80_000_000


def test_an_image_larger_than_any_is_not_painted() -> None:
    for side in (1 << 20, 10**400, float("inf"), float("nan"), "x", None, 0, -5):
        found, (problem,) = decode([{**drawn_on(1), "original_width": side, "original_height": side}])
        assert not found and "its image" in problem
