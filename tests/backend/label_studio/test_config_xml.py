from __future__ import annotations

import pytest

from backend.errors import LabelConfigError
from backend.label_studio.config_xml import choice_names, parse_xml, with_message_tag
from backend.label_studio.label_config import parse_label_config
from tests.support import config_xml

REVIEWED = """<View><!-- ours -->
  <Choices name="verdict" toName="i"><Choice value="approved" alias="ok &amp; done"/><Choice value="again"/></Choices>
  <Choices name="other" toName="i"><Choice value="approved" alias="yes"/></Choices>
</View>"""


@pytest.mark.parametrize(
    ("control", "choice", "names"),
    [
        ("verdict", "approved", {"approved", "ok & done"}),
        ("other", "approved", {"approved", "yes"}),
        ("verdict", "again", {"again"}),
        ("verdict", "never", {"never"}),
    ],
)
def test_a_choice_is_known_by_its_value_and_its_alias(control: str, choice: str, names: set[str]) -> None:
    assert choice_names(REVIEWED, control, choice) == names


@pytest.mark.parametrize("name", ["polygon_keypoint_rectangle", "single_palette", "every_region_type"])
def test_the_control_for_messages_stands_above_the_image_and_changes_nothing_else(name: str) -> None:
    before = config_xml(name)
    after = with_message_tag(before, image_tag="image")
    assert not parse_label_config(before).has_message_tag
    config = parse_label_config(after)
    assert config.has_message_tag
    assert config.outputs == parse_label_config(before).outputs
    tags = [tag.tag for tag in parse_xml(after).iter()]
    place = tags.index("Image") - 1
    assert tags.pop(place) == "TextArea"
    assert tags == [tag.tag for tag in parse_xml(before).iter()]


def test_what_a_config_holds_besides_is_kept() -> None:
    xml = (
        '<View><!-- ours --><Header value="a &amp; b"/><Image name="j" value="$b"/><Image name="i" value="$a"/>c</View>'
    )
    after = with_message_tag(xml, image_tag="i")
    control, rest = after.split("<TextArea ")[1].split("/>", 1)
    assert 'name="message" toName="i" editable="false"' in control
    assert after.split("<TextArea ")[0] + rest.lstrip("\n") == xml


def test_a_name_that_is_taken_is_said() -> None:
    xml = '<View><Choices name="message" toName="i"/><Image name="i" value="$a"/></View>'
    with pytest.raises(LabelConfigError, match="named 'message', but is no <TextArea> of the image"):
        with_message_tag(xml, image_tag="i")
