from __future__ import annotations

import pytest

from backend.errors import LabelConfigError
from backend.label_studio.label_config import parse_label_config
from label_studio_config.palette_xml import GARMENTS, palette
from tests.support import config_xml

# config, kind of its best tag, the tag's name, the palette's name
CONFIGS = [
    ("polygon_keypoint_rectangle", "polygon", "garment", None),
    ("single_palette", "polygon", "polygon", "garment"),
    ("every_region_type", "polygon", "garment", None),
    ("message_and_bitmask", "polygon", "polygon", "garment"),
]


@pytest.mark.parametrize(("name", "kind", "tag", "labels_tag"), CONFIGS)
def test_the_recorded_configs(name: str, kind: str, tag: str, labels_tag: str | None) -> None:
    config = parse_label_config(config_xml(name))
    output = config.output_for("saree")
    assert (output.kind, output.name, output.labels_tag, output.to_name) == (kind, tag, labels_tag, "image")
    assert (config.image_tag, config.image_key) == ("image", "$image")
    assert config.label_values[0] == "saree"


@pytest.mark.parametrize(
    ("tag", "kind"), [("BrushLabels", "brush"), ("BitmaskLabels", "bitmask"), ("RectangleLabels", "rectangle")]
)
def test_a_config_with_one_kind_of_region_is_served_in_it(tag: str, kind: str) -> None:
    xml = f'<View><Image name="i" value="$photo"/><{tag} name="t" toName="i"><Label value="saree"/></{tag}></View>'
    config = parse_label_config(xml)
    assert config.output_for("saree").kind == kind
    assert config.image_key == "$photo"


def test_the_palette_holds_all_that_the_annotator_needs() -> None:
    config = parse_label_config(palette(GARMENTS))
    assert config.label_values == GARMENTS
    assert config.has_message_tag


def test_labels_with_markup_in_their_names_survive() -> None:
    assert parse_label_config(palette(['a "b" <c> & d'])).label_values == ('a "b" <c> & d',)


# model class, label it counts as
CLASSES = [("Saree", "saree"), (" SAREE ", "saree"), ("sari", "saree"), ("Lehenga", "skirt"), ("shoe", None)]


@pytest.mark.parametrize(("class_name", "label"), CLASSES)
def test_model_classes_become_labels(class_name: str, label: str | None) -> None:
    config = parse_label_config(
        '<View><Image name="i" value="$image"/><PolygonLabels name="p" toName="i" model_score_threshold="0.05">'
        '<Label value="saree" alias="sari"/><Label value="skirt" predicted_values="lehenga, ghagra"/>'
        "</PolygonLabels></View>"
    )
    assert config.label_for(class_name) == label
    assert config.threshold_for("saree", 0.25) == 0.05
    assert not config.skips("saree")


def test_model_skip_leaves_a_tag_to_people() -> None:
    xml = palette(["saree"]).replace("<Polygon ", '<Polygon model_skip="true" ')
    assert parse_label_config(xml).skips("saree")


BAD = [
    ("<View/>", "<Image>"),
    ('<View><Image name="i"/></View>', "<Image>"),
    ('<View><Image name="i" value="$image"/></View>', "labels"),
    ('<View><Image name="i" value="$image"/><Polygon name="p" toName="i"/></View>', "labels"),
    # A palette alone draws nothing; smart-only tags only ask.
    (
        '<View><Image name="i" value="$image"/><Labels name="l" toName="i"><Label value="a"/></Labels>'
        '<Rectangle name="r" toName="i" smart="true" smartOnly="true"/></View>',
        "labels",
    ),
    ("<View>", "not valid XML"),
    ('<!DOCTYPE v [<!ENTITY a "aaaa">]><View>&a;</View>', "document type"),
    # The same in UTF-7, where the words themselves are not to be seen.
    (
        '<?xml version="1.0" encoding="UTF-7"?>+ADwAIQ-DOCTYPE v [+ADwAIQ-ENTITY a "aaaa">]><View>&a;</View>',
        "document type",
    ),
    ('<?xml version="1.0" encoding="no-such"?><View/>', "not valid XML"),
    ("<View>\ud800</View>", "not valid XML"),
    (" " * 1_000_001, "longer"),
    (palette([f"label {number}" for number in range(1001)]), "more than"),
]


@pytest.mark.parametrize(("xml", "said"), BAD)
def test_a_config_that_cannot_be_served_says_what_is_missing(xml: str, said: str) -> None:
    with pytest.raises(LabelConfigError, match=said):
        parse_label_config(xml)


# Label Studio writes the alias of the tag that a region or a prompt comes from.
ALIASES = """<View><Image name="i" value="$i"/>
  <KeyPointLabels name="k" toName="i" smart="true"><Label value="saree" alias="point at it"/></KeyPointLabels>
  <PolygonLabels name="p" toName="i"><Label value="saree" alias="sr"/><Label value="blouse"/></PolygonLabels>
  <BrushLabels name="b" toName="i"><Label value="skirt" alias="sk"/><Label value="skirt" alias="2nd"/></BrushLabels>
</View>"""


def test_a_label_is_known_by_its_value_whatever_its_alias_in_a_tag_is() -> None:
    config = parse_label_config(ALIASES)
    assert config.label_values == ("saree", "blouse", "skirt")
    assert [config.label_of(name) for name in ("point at it", "sr", "saree")] == ["saree"] * 3
    assert config.label_of("turban") == "turban"
    assert [config.output_for(label).name_of(label) for label in config.label_values] == ["sr", "blouse", "sk"]
    assert [config.label_for(name) for name in ("SR", "Point at it", "blouse", "sari")] == [
        "saree",
        "saree",
        "blouse",
        None,
    ]


@pytest.mark.parametrize("alias", ["blouse", "bl"])
def test_a_name_of_two_labels_is_refused(alias: str) -> None:
    xml = ALIASES.replace('alias="sr"', f'alias="{alias}"').replace('value="blouse"', 'value="blouse" alias="bl"')
    with pytest.raises(LabelConfigError, match=f"'{alias}' names both 'saree' and 'blouse'"):
        parse_label_config(xml)


SEVERAL_IMAGES = (
    '<View><Image name="front" value="$front"/><Image name="back" value="$back"/>'
    '<PolygonLabels name="p" toName="{}"><Label value="saree"/></PolygonLabels>'
    '<RectangleLabels name="r" toName="{}"><Label value="blouse"/></RectangleLabels></View>'
)


@pytest.mark.parametrize(("first", "second"), [("front", "back"), ("front,back", "front")])
def test_a_config_that_draws_in_several_images_is_refused_by_their_names(first: str, second: str) -> None:
    with pytest.raises(LabelConfigError, match=r"draws in 2 images of a task \('front', 'back'\), and Drape"):
        parse_label_config(SEVERAL_IMAGES.format(first, second))


LIST = '<Image name="i" valueList="$images"/>'
POLYGONS = '<PolygonLabels name="p" toName="i"><Label value="saree"/></PolygonLabels>'


@pytest.mark.parametrize(
    ("inside", "said"),
    [
        (LIST + POLYGONS, "'i' has a valueList"),
        (LIST.replace("valueList", 'value="$image" valuelist') + POLYGONS, "'i' has a valueList"),
        (f'<Repeater on="$images">{LIST.replace("valueList", "value")}{POLYGONS}</Repeater>', "'i' stands in a <Rep"),
    ],
)
def test_an_image_tag_that_shows_many_images_is_refused_with_the_reason(inside: str, said: str) -> None:
    with pytest.raises(LabelConfigError, match=f"{said}.* Give each image a task of its own"):
        parse_label_config(f"<View>{inside}</View>")


def test_many_images_to_look_at_hinder_nothing() -> None:
    config = parse_label_config(
        f'<View><Image name="r" valueList="$others"/><Image name="i" value="$a"/>{POLYGONS}</View>'
    )
    assert config.image_tag == "i"


def test_an_image_to_look_at_stands_beside_the_one_that_is_drawn_in() -> None:
    config = parse_label_config(SEVERAL_IMAGES.format("back", "back"))
    assert (config.image_tag, config.label_values) == ("back", ("saree", "blouse"))


NAMED = """<View><Image name="i" value="$i"/><PolygonLabels name="p" toName="i">
  <Label value="saree" alias="sari"/><Label value="saree border" prompt="gold border"/><Label value="Blouse"/>
</PolygonLabels></View>"""

# phrase, the label that it names
PHRASES = [
    ("saree", "saree"),
    ("Silk  SAREE", "saree"),
    ("a red sari", "saree"),
    ("saree border", "saree border"),
    ("gold border", "saree border"),
    ("blouse of the saree", "saree"),
    ("saree blouse", "Blouse"),
    ("sareeblouse", None),
    ("turban", None),
    ("", None),
]


@pytest.mark.parametrize(("phrase", "label"), PHRASES)
def test_words_name_a_label(phrase: str, label: str | None) -> None:
    assert parse_label_config(NAMED).label_named(phrase) == label


def test_exclusive_stands_on_a_label_or_on_its_tag() -> None:
    xml = """<View><Image name="i" value="$i"/>
      <PolygonLabels name="p" toName="i"><Label value="a" exclusive="true"/><Label value="b"/></PolygonLabels>
      <BrushLabels name="q" toName="i" exclusive="true"><Label value="c"/></BrushLabels></View>"""
    config = parse_label_config(xml)
    assert [config.is_exclusive(label) for label in ("a", "b", "c", "none")] == [True, False, True, False]


THRESHOLD = (
    '<View><Image name="i" value="$image"/><PolygonLabels name="p" toName="i" model_score_threshold="{}">'
    '<Label value="saree"/></PolygonLabels></View>'
)


@pytest.mark.parametrize("text", ["nan", "inf", "-Infinity", "much"])
def test_a_threshold_that_is_no_number_is_refused(text: str) -> None:
    with pytest.raises(LabelConfigError, match=f"not a number: '{text}'"):
        parse_label_config(THRESHOLD.format(text))


@pytest.mark.parametrize("text", ["", "  "])
def test_an_empty_threshold_is_the_default(text: str) -> None:
    assert parse_label_config(THRESHOLD.format(text)).threshold_for("saree", 0.25) == 0.25
