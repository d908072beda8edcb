"""Whatever a label config holds, it is served or refused with a sentence, and soon."""

from __future__ import annotations

import contextlib
import time
from typing import Any
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backend.errors import LabelConfigError
from backend.label_studio.label_config import parse_label_config
from label_studio_config.palette_xml import GARMENTS, palette

TAGS = [
    "View",
    "Image",
    "Labels",
    "Label",
    "PolygonLabels",
    "BrushLabels",
    "BitmaskLabels",
    "RectangleLabels",
    "Polygon",
    "Brush",
    "Rectangle",
    "KeyPointLabels",
    "TextArea",
    "Choices",
]
ATTRIBUTES = {
    "name": ["a", "b", "message", ""],
    "toName": ["a", "b", "a,b", ""],
    "value": ["$image", "saree", "", "$"],
    "smart": ["true", "no"],
    "smartOnly": ["true", ""],
    "alias": ["sari"],
    "exclusive": ["1"],
    "model_skip": ["true"],
    "predicted_values": ["x, Y ,", ","],
    "model_score_threshold": ["0.5", "", "nan", "much", "1e999"],
}


def element(tag: str, attributes: dict[str, str], inner: list[str]) -> str:
    written = " ".join(f"{name}={quoteattr(value)}" for name, value in attributes.items())
    return f"<{tag} {written}>{''.join(inner)}</{tag}>"


ATTRIBUTE_SETS = st.fixed_dictionaries(
    {},
    optional={
        name: st.one_of(st.sampled_from(values), st.sampled_from(values), st.text(max_size=4))
        for name, values in ATTRIBUTES.items()
    },
)
TREES = st.recursive(
    st.one_of(
        st.builds(element, st.sampled_from(TAGS), ATTRIBUTE_SETS, st.just([])),
        st.sampled_from(["", "<!-- -->", "<?x?>"]),
    ),
    lambda inner: st.builds(element, st.sampled_from(TAGS), ATTRIBUTE_SETS, st.lists(inner, max_size=5)),
    max_leaves=15,
)
IMAGE = '<Image name="a" value="$b"/>'


@st.composite
def spoiled(draw: Any) -> str:
    """Our own config with something cut out and something put in."""
    text = palette(GARMENTS)
    first = draw(st.integers(0, len(text)))
    return text[:first] + draw(st.text(max_size=5)) + text[first + draw(st.integers(0, 40)) :]


@given(st.one_of(TREES.map(lambda inner: f"<View>{IMAGE}{inner}</View>"), spoiled(), st.text()))
def test_a_config_is_served_or_refused(xml: str) -> None:
    with contextlib.suppress(LabelConfigError):
        config = parse_label_config(xml)
        assert config.label_values
        for label in config.label_values:
            assert label in config.output_for(label).labels
            assert 0 <= config.threshold_for(label, 0.5) or config.output_for(label).score_threshold is not None
            assert isinstance(config.skips(label), bool) and isinstance(config.is_exclusive(label), bool)
            assert config.label_for(label) is not None
            assert config.label_named(label) is not None or not label.strip()


def labels(count: int) -> str:
    return "".join(f'<Label value="label {number}"/>' for number in range(count))


def inside(tag: str, inner: str, times: int = 1) -> str:
    return f'<{tag} name="p" toName="a">' * times + inner + f"</{tag}>" * times


def lol(last: int, ending: str) -> str:
    entities = "".join(f'<!ENTITY l{n} "' + f"&l{n - 1};" * 10 + '">' for n in range(1, last))
    return f'<!DOCTYPE v [<!ENTITY l0 "lol">{entities}{ending}]><View>&l{last - 1};</View>'


LONG = '<!ENTITY a "' + "a" * 50_000 + '">'
MANY_ATTRIBUTES = " ".join(f'a{number}=""' for number in range(70_000))
NESTED_LABELS = inside("PolygonLabels", labels(30_000), 200)
FORTY = ",".join(f"a{number}" for number in range(40))
# What it is, the config, what is said of it.
HEAVY = [
    # libxml2 sees the growth itself.
    ("a billion laughs", lol(10, ""), "amplification"),
    ("one entity many times", f"<!DOCTYPE v [{LONG}]><View>{'&a;' * 50_000}</View>", "amplification"),
    ("ten entities of ten", lol(3, ""), "document type"),
    ("a file", '<!DOCTYPE v [<!ENTITY a SYSTEM "file:///etc/passwd">]><View>&a;</View>', "document type"),
    ("an address", '<!DOCTYPE v SYSTEM "http://127.0.0.1:9/x.dtd"><View/>', "document type"),
    ("a parameter entity", '<!DOCTYPE v [<!ENTITY % a SYSTEM "http://127.0.0.1:9/x"> %a;]><View/>', "document type"),
    ("an entity that is none", "<View>&nothing;</View>", "not valid XML"),
    ("five megabytes", f"<View>{IMAGE}{'<!-- fill -->' * 400_000}</View>", "longer"),
    ("5,000 labels", f"<View>{IMAGE}{inside('PolygonLabels', labels(5000))}</View>", "more than 1,000 labels"),
    ("labels in tags in tags", f"<View>{IMAGE}{NESTED_LABELS}</View>", "more than 10,000"),
    ("15,000 images", f"<View>{IMAGE * 15_000}{inside('PolygonLabels', labels(900))}</View>", "too many tags"),
    (
        "palettes times tools",
        f"<View>{IMAGE}{inside('Labels', labels(3)) * 5000}{inside('Polygon', '') * 5000}</View>",
        "too many tags",
    ),
    ("tags in tags", f"<View>{'<View>' * 60_000}{'</View>' * 60_000}</View>", "not valid XML"),
    ("a tag of a million letters", f"<{'a' * 990_000}/>", "not valid XML"),
    ("a hundred thousand attributes", f"<View {MANY_ATTRIBUTES}/>", "no <Image>"),
    ("a hundred thousand tags of no meaning", f"<View>{IMAGE}{'<Style/>' * 100_000}</View>", "no labels"),
]


@pytest.mark.parametrize(("xml", "said"), [case[1:] for case in HEAVY], ids=[case[0] for case in HEAVY])
def test_what_would_take_long_is_refused_at_once(xml: str, said: str) -> None:
    began = time.process_time()
    with pytest.raises(LabelConfigError, match=said) as refused:
        parse_label_config(xml)
    # Milliseconds; without the limits minutes.
    assert time.process_time() - began < 5
    assert len(str(refused.value)) < 1000


def test_the_most_that_is_served_is_served_soon() -> None:
    tools = "".join(f'<Polygon name="t{number}" toName="{FORTY}"/>' for number in range(25))
    palettes = "".join(f'<Labels name="p{number}" toName="{FORTY}">{labels(400)}</Labels>' for number in range(25))
    images = "".join(f'<Image name="a{number}" value="$b"/>' for number in range(40))
    began = time.process_time()
    with pytest.raises(LabelConfigError, match="draws in 40 images"):
        parse_label_config(f"<View>{images}{palettes}{tools}</View>")
    config = parse_label_config(f"<View>{IMAGE}{palettes}{tools}</View>".replace(FORTY, "a"))
    assert sum(config.threshold_for(label, 0.5) for label in config.label_values) == 200
    assert time.process_time() - began < 10
