from __future__ import annotations

import functools

import pytest

from backend.domain import Box, Point
from backend.errors import PromptError
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.payloads import PredictRequest
from backend.label_studio.prompts import parse_context as parse_any_context
from tests.support import config_xml, recorded

SIZE_WH = (810, 1080)
parse_context = functools.partial(parse_any_context, example_tag="example")

# recorded request, signs of its points, boxes, words, label
RECORDED = [
    ("predict_one_click", [True], 0, (), "saree"),
    ("predict_one_click_single_palette", [True], 0, (), "saree"),
    ("predict_two_clicks", [True, True], 0, (), "saree"),
    ("predict_click_after_accept_single_palette", [True], 0, (), "blouse"),
    ("predict_click_after_accept_other_label", [True], 0, (), "blouse"),
    # The first point was restored from a draft: it has no sign, which means positive.
    ("predict_points_restored_from_draft_and_negative", [True, True, False], 0, (), "saree"),
    ("predict_box", [], 1, (), "saree"),
    ("predict_text_prompt", [], 0, ("silk saree",), None),
]


@pytest.mark.parametrize(("name", "signs", "boxes", "words", "label"), RECORDED)
def test_every_recorded_prompt(
    name: str, signs: list[bool], boxes: int, words: tuple[str, ...], label: str | None
) -> None:
    request = PredictRequest.model_validate(recorded(name))
    assert request.context is not None
    prompt = parse_context(
        request.context, parse_label_config(request.label_config), size_wh=SIZE_WH, example_tag="example"
    )
    assert [point.positive for point in prompt.points] == signs
    assert len(prompt.boxes) == boxes
    assert prompt.words == words
    assert prompt.label == label


def test_percent_becomes_pixels_x_before_y() -> None:
    request = PredictRequest.model_validate(recorded("predict_one_click"))
    assert request.context is not None
    prompt = parse_context(
        request.context, parse_label_config(request.label_config), size_wh=(200, 1000), example_tag="example"
    )
    assert prompt.points == (Point(x=pytest.approx(33.994334, abs=1e-4), y=500.0),)  # type: ignore[arg-type]


def click(**value: object) -> dict[str, object]:
    return {
        "id": "a",
        "type": "keypoint",
        "from_name": "click",
        "value": {"x": 1, "y": 1, "labels": ["saree"], **value},
    }


# regions, what the annotator reads
REFUSED = [
    ([], "prompt is empty"),
    ([click(x=None)], "no valid position"),
    ([click(x=float("nan"))], "no valid position"),
    ([click(labels=["turban"])], "turban"),
    ([click() | {"to_name": "reference"}], "draws nothing in this image: ask in the image 'image'"),
    ([{"id": "b", "type": "rectangle", "value": {"x": 5, "y": 5, "width": 0, "height": 9}}], "too small"),
]


@pytest.mark.parametrize(("regions", "said"), REFUSED)
def test_a_prompt_that_cannot_be_answered_says_why(regions: list[dict[str, object]], said: str) -> None:
    with pytest.raises(PromptError, match=said):
        parse_context(
            {"result": regions},
            parse_label_config(config_xml("single_palette")),
            size_wh=SIZE_WH,
            example_tag="example",
        )


def test_a_lone_label_needs_no_choosing() -> None:
    xml = (
        '<View><Image name="i" value="$i"/><PolygonLabels name="p" toName="i"><Label value="x"/></PolygonLabels></View>'
    )
    prompt = parse_context(
        {"result": [click(labels=[])]}, parse_label_config(xml), size_wh=SIZE_WH, example_tag="example"
    )
    assert prompt.label == "x"


ALIASES = parse_label_config(
    """<View><Image name="i" value="$i"/>
    <KeyPointLabels name="k" toName="i"><Label value="saree" alias="sr"/><Label value="example" alias="ex"/>
    </KeyPointLabels><PolygonLabels name="p" toName="i"><Label value="saree" alias="S"/><Label value="x"/>
    </PolygonLabels></View>"""
)


@pytest.mark.parametrize("chosen", ["sr", "S", "saree"])
def test_a_chosen_alias_is_its_label(chosen: str) -> None:
    prompt = parse_context({"result": [click(labels=[chosen])]}, ALIASES, size_wh=SIZE_WH)
    assert prompt.label == "saree"


def test_an_example_is_known_by_the_alias_of_its_label() -> None:
    region = {"id": "a", "type": "rectanglelabels", "value": {**BOX, "rectanglelabels": ["ex"]}}
    assert parse_context({"result": [region]}, ALIASES, size_wh=(100, 100)).examples == (Box(10, 10, 30, 40),)


BOX = {"x": 10, "y": 10, "width": 20, "height": 30}


# id, from_name, labels, whether it is an example
RECTANGLES = [
    ("example", ["saree"], True),
    ("box", ["example"], True),
    ("box", ["saree"], False),
]


@pytest.mark.parametrize(("from_name", "labels", "is_example"), RECTANGLES)
def test_a_rectangle_of_the_example_tag_is_an_example(from_name: str, labels: list[str], is_example: bool) -> None:
    region = {"id": "a", "type": "rectanglelabels", "from_name": from_name, "value": {**BOX, "rectanglelabels": labels}}
    config = parse_label_config(config_xml("single_palette"))
    prompt = parse_context({"result": [region]}, config, size_wh=(100, 100))
    assert (prompt.examples if is_example else prompt.boxes) == (Box(10, 10, 30, 40),)
    assert prompt.asks_for_all is is_example
    assert prompt.label == (None if labels == ["example"] else "saree")
