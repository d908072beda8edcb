"""Whatever stands in a context, it is a prompt inside the image, or the annotator reads why not."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import PromptError
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.prompts import parse_context
from label_studio_config.palette_xml import GARMENTS, palette
from tests.backend.junk import ANY_JSON, CONTEXTS

CONFIG = parse_label_config(palette(GARMENTS))


@given(st.one_of(CONTEXTS, st.dictionaries(st.just("result"), ANY_JSON)), st.integers(1, 500), st.integers(1, 500))
def test_a_context_is_a_prompt_or_is_not(context: dict[str, Any], width: int, height: int) -> None:
    with contextlib.suppress(PromptError):
        prompt = parse_context(context, CONFIG, size_wh=(width, height), example_tag="example")
        assert prompt.points or prompt.boxes or prompt.words or prompt.examples
        assert prompt.label is None or prompt.label in CONFIG.label_values
        assert all(0 <= point.x <= width and 0 <= point.y <= height for point in prompt.points)
        for box in prompt.boxes + prompt.examples:
            assert 0 <= box.x_min < box.x_max <= width and 0 <= box.y_min < box.y_max <= height


@pytest.mark.parametrize("x", [10**400, -(10**400), 1e300, True, "5", [5]])
def test_a_position_that_no_image_has_is_refused(x: object) -> None:
    click = {"type": "keypoint", "value": {"x": x, "y": 5, "labels": ["saree"]}}
    with pytest.raises(PromptError, match="no valid position"):
        parse_context({"result": [click]}, CONFIG, size_wh=(100, 100), example_tag="example")


def test_a_page_of_words_is_refused() -> None:
    written = {"type": "textarea", "value": {"text": ["a saree "] * 100}}
    with pytest.raises(PromptError, match="too long"):
        parse_context({"result": [written]}, CONFIG, size_wh=(100, 100), example_tag="example")
