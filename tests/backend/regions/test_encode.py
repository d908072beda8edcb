from __future__ import annotations

import json

import numpy as np
import pytest
from label_studio_sdk.converter import brush

from backend.domain import LabelledMask, Mask, Outlining
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.regions.content_hash import content_hash
from backend.regions.decode import decode
from backend.regions.encode import encode, message
from backend.regions.mask_borders import without_specks
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette_xml import GARMENTS, palette
from tests.support import config_xml, iou, recorded, shapes

PALETTE = "<Labels name='l' toName='i'>{}</Labels><Polygon name='t' toName='i'/>"
SHAPES = sorted(shapes().items())


def config_for(kind: str) -> LabelConfig:
    tag = f"{kind.capitalize()}Labels"
    return parse_label_config(
        '<View><Image name="image" value="$image"/>'
        f'<{tag} name="t" toName="image"><Label value="saree"/></{tag}></View>'
    )


@pytest.mark.parametrize("tags", ["<PolygonLabels name='t' toName='i'>{}</PolygonLabels>", PALETTE])
def test_a_region_bears_the_alias_that_label_studio_would_write(tags: str) -> None:
    label = '<Label value="saree" alias="sr"/>'
    config = parse_label_config(f'<View><Image name="i" value="$i"/>{tags.format(label)}</View>')
    regions = encode(LabelledMask(shapes()["disk"], "saree"), config, outlining=Outlining(), model_version="m")
    (found,), problems = decode(regions)
    assert (found.label, problems) == ("sr", [])


def there_and_back(mask: Mask, config: LabelConfig) -> Mask:
    regions = encode(LabelledMask(mask, "saree", 0.5), config, outlining=Outlining(), model_version="m")
    # As it travels.
    found, problems = decode(json.loads(json.dumps(regions)))
    assert not problems
    assert {one.label for one in found} == {"saree"}
    return np.logical_or.reduce([one.mask for one in found])


@pytest.mark.parametrize(("name", "mask"), SHAPES)
@pytest.mark.parametrize("kind", ["brush", "bitmask"])
def test_brush_and_bitmask_are_exact(kind: str, name: str, mask: Mask) -> None:
    assert np.array_equal(there_and_back(mask, config_for(kind)), mask)


@pytest.mark.parametrize(("name", "mask"), SHAPES)
def test_polygons_are_nearly_exact(name: str, mask: Mask) -> None:
    assert iou(there_and_back(mask, config_for("polygon")), mask) >= 0.985


@pytest.mark.parametrize("seed", range(6))
def test_polygons_of_garments_are_nearly_exact_as_written_down(seed: int) -> None:
    for instance in draw_figure(seed).instances:
        tidy = without_specks(instance.mask, speck_px=Outlining().speck_px(instance.mask.size))
        assert iou(there_and_back(instance.mask, config_for("polygon")), tidy) >= 0.985


def test_percentages_have_no_more_decimals_than_tell_a_twentieth_of_a_pixel() -> None:
    (region,) = encode(
        LabelledMask(shapes()["disk"], "saree"), config_for("polygon"), outlining=Outlining(), model_version="m"
    )
    points = region["value"]["points"]
    assert points == [[round(x, 2), round(y, 2)] for x, y in points]
    assert all(0 <= value <= 100 for point in points for value in point)


@pytest.mark.parametrize("kind", ["brush", "bitmask"])
def test_brush_and_bitmask_keep_holes_and_parts_and_drop_specks(kind: str) -> None:
    clean = np.zeros((200, 300), bool)
    clean[20:180, 30:150], clean[20:60, 200:240] = True, True
    clean[60:120, 60:120] = False
    mask = clean.copy()
    mask[150:152, 250:252], mask[30:32, 40:42] = True, False
    assert np.array_equal(there_and_back(mask, config_for(kind)), clean)


def test_a_speck_does_not_stretch_a_rectangle() -> None:
    mask = np.zeros((200, 300), bool)
    mask[20:80, 30:90] = True
    expected = mask.copy()
    mask[190, 290] = True
    assert np.array_equal(there_and_back(mask, config_for("rectangle")), expected)


def test_a_rectangle_is_the_bounds() -> None:
    mask = shapes()["disk"]
    rows, columns = np.nonzero(mask)
    expected = np.zeros_like(mask)
    expected[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] = True
    assert np.array_equal(there_and_back(mask, config_for("rectangle")), expected)


def test_a_mask_in_two_parts_becomes_two_polygons_with_their_own_ids() -> None:
    regions = encode(
        LabelledMask(shapes()["two"], "saree"), config_for("polygon"), outlining=Outlining(), model_version="m"
    )
    assert len({region["id"] for region in regions}) == 2


def test_an_empty_mask_gives_no_region() -> None:
    empty = LabelledMask(np.zeros((5, 9), bool), "saree")
    assert encode(empty, config_for("polygon"), outlining=Outlining(), model_version="m") == []


def test_the_sdk_reads_our_brush() -> None:
    mask = shapes()["two"]
    region = encode(LabelledMask(mask, "saree"), config_for("brush"), outlining=Outlining(), model_version="m")[0]
    alpha = brush.decode_rle(region["value"]["rle"]).reshape(*mask.shape, 4)[..., 3]
    assert np.array_equal(alpha == 255, mask)


def test_a_palette_gets_a_pair_under_one_fresh_id() -> None:
    config = parse_label_config(config_xml("single_palette"))
    labelled = LabelledMask(shapes()["disk"], "shawl", 0.75)
    first, second = encode(labelled, config, outlining=Outlining(), model_version="sam2.1_b")
    assert first["id"] == second["id"]
    assert (first["type"], first["from_name"]) == ("polygon", "polygon")
    assert (second["type"], second["from_name"], second["value"]["labels"]) == ("labels", "garment", ["shawl"])
    assert first["score"] == 0.75
    again = encode(labelled, config, outlining=Outlining(), model_version="sam2.1_b")
    assert again[0]["id"] != first["id"]


def test_the_recorded_annotation_is_read_without_its_prompts() -> None:
    result = recorded("webhook_ANNOTATION_UPDATED_ground_truth")["annotation"]["result"]
    masks, problems = decode(result)
    assert problems == []
    assert sorted({mask.kind for mask in masks}) == sorted(
        {region["type"].removesuffix("labels") for region in result} - {"keypoint", "textarea", "", "choices"}
    )


def region(kind: str, **value: object) -> dict[str, object]:
    return {
        "id": "x",
        "type": f"{kind}labels",
        "from_name": "t",
        "to_name": "image",
        "original_width": 40,
        "original_height": 20,
        "value": {f"{kind}labels": ["saree"], **value},
    }


# a region, what is said of it
UNREADABLE = [
    (region("polygon", points=[[1, 1], [2, 2]]), "fewer than 3 points"),
    (region("polygon", points=[["a", "b"]]), "cannot be read"),
    (region("polygon"), "cannot be read"),
    (region("polygon", points=[[1, 1], [2, 2], [float("nan"), 3]]), "far outside"),
    (region("ellipse", x=50, y=50, radiusX=float("inf"), radiusY=1), "'radiusX' is inf"),
    ({**region("polygon", points=[[0, 0], [9, 0], [9, 9]]), "original_width": 10**9}, "too large"),
    (region("bitmask", imageDataURL=3), "not a PNG"),
    (region("brush", rle=[1, 2, 3]), "is truncated"),
    (region("brush", rle=brush.encode_rle(np.zeros(16, np.uint8))), "has 4 pixels"),
    (region("bitmask", imageDataURL="data:image/png;base64,AAAA"), "not a PNG"),
    (region("rectangle", x=200, y=200, width=5, height=5), "covers no pixel"),
    ({**region("polygon"), "value": {"points": [[0, 0], [9, 0], [9, 9]]}}, "no label"),
]


@pytest.mark.parametrize(("unreadable", "said"), UNREADABLE)
def test_a_region_that_cannot_be_read_is_said_and_stops_nothing(unreadable: dict[str, object], said: str) -> None:
    good = {**region("polygon", points=[[10, 10], [60, 10], [60, 60]]), "id": "good"}
    masks, problems = decode([unreadable, good])
    assert len(masks) == 1
    assert len(problems) == 1
    assert said in problems[0]


def test_a_turned_rectangle_turns_about_its_upper_left_corner() -> None:
    masks, _ = decode([region("rectangle", x=50, y=10, width=25, height=20, rotation=90)])
    rows, columns = np.nonzero(masks[0].mask)
    # 10 x 4 pixels at (20, 2), a quarter turn clockwise: 4 wide to the left, 10 high.
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == (16, 19, 2, 11)


def test_an_ellipse_has_its_area() -> None:
    masks, _ = decode([region("ellipse", x=50, y=50, radiusX=20, radiusY=30)])
    assert masks[0].mask.sum() == pytest.approx(np.pi * 8 * 6, rel=0.05)


def test_a_message_goes_into_the_message_control_and_is_no_mask() -> None:
    config = parse_label_config(palette(GARMENTS))
    (said,) = message("Choose a label first.", config)
    assert (said["type"], said["from_name"], said["value"]) == (
        "textarea",
        "message",
        {"text": ["Choose a label first."]},
    )
    assert decode([said]) == ([], [])
    assert message("…", parse_label_config(config_xml("single_palette"))) == []


def test_the_page_writes_whole_numbers_without_a_point() -> None:
    stored = [{"id": "a", "from_name": "polygon", "type": "polygon", "value": {"points": [[50.0, 12.5], [0.1, 3.0]]}}]
    saved = [{"id": "b", "from_name": "polygon", "type": "polygon", "value": {"points": [[50, 12.5], [0.1, 3]]}}]
    moved = [{"id": "b", "from_name": "polygon", "type": "polygon", "value": {"points": [[50, 12.5], [0.1, 4]]}}]
    assert content_hash(stored) == content_hash(saved) != content_hash(moved)
