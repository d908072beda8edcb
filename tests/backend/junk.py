"""What nobody should send, for property tests: any JSON, and what nearly is Label Studio's."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import strategies as st

Any_ = st.SearchStrategy[Any]

# Half of a surrogate pair is JSON, and no text that can be written; a NUL is in no address and no XML.
WORDS = st.one_of(st.text(max_size=20), st.sampled_from(["", "\ud800", "\x00", "²", "..", "/", "1.7", "x" * 5000]))
NUMBERS = st.one_of(
    st.integers(-1, 120),
    st.floats(),
    st.sampled_from([0, -1, 2**31, 2**63, 10**400, -(10**400), 1e308, float("nan"), float("inf")]),
)
SCALARS = st.one_of(st.none(), st.booleans(), NUMBERS, WORDS)
ANY_JSON: Any_ = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=6), inner, max_size=4)),
    max_leaves=12,
)

KINDS = ("polygon", "brush", "bitmask", "rectangle", "ellipse", "keypoint", "textarea", "choices")
TYPES = [f"{kind}{end}" for kind in KINDS for end in ("", "labels")] + ["labels"]
LABELS = st.sampled_from(["saree", "blouse", "turban", "example"])


def nearly(right: Any_) -> Any_:
    """Mostly what belongs there."""
    return st.one_of(right, right, right, ANY_JSON)


def an_object(**fields: Any_) -> Any_:
    """A JSON object of which every field may be missing or anything else."""
    return st.fixed_dictionaries({}, optional={name: nearly(field) for name, field in fields.items()})


POINTS = st.lists(nearly(st.lists(nearly(st.floats(-50, 150)), min_size=2, max_size=2)), max_size=6)
PERCENT = st.floats(-20, 120)
VALUES = an_object(
    x=PERCENT,
    y=PERCENT,
    width=PERCENT,
    height=PERCENT,
    rotation=st.floats(-360, 360),
    radiusX=PERCENT,
    radiusY=PERCENT,
    points=POINTS,
    format=st.just("rle"),
    rle=st.lists(nearly(st.integers(0, 255)), max_size=40),
    imageDataURL=st.text(max_size=30).map(lambda text: f"data:image/png;base64,{text}"),
    text=st.lists(nearly(WORDS), max_size=3),
    **{f"{kind}labels": st.lists(nearly(LABELS), max_size=2) for kind in ("", *KINDS)},
)
IDS = st.sampled_from(["a", "b", "c"])
REGIONS = an_object(
    id=IDS,
    type=st.sampled_from(TYPES),
    from_name=st.sampled_from(["garment", "example", "click"]),
    to_name=st.just("image"),
    original_width=st.integers(1, 60),
    original_height=st.integers(1, 60),
    value=VALUES,
    is_positive=st.booleans(),
    score=st.floats(0, 1),
    parentID=IDS,
    from_id=IDS,
    to_id=IDS,
    meta=an_object(text=st.lists(WORDS, max_size=2), drape=an_object(accepted_by=WORDS, shown=WORDS)),
)
RESULTS = st.lists(nearly(REGIONS), max_size=5)
CONTEXTS = an_object(result=RESULTS)
DRAWN = st.lists(nearly(an_object(result=RESULTS, updated_at=WORDS, lead_time=NUMBERS)), max_size=2)
TASKS = an_object(
    id=st.integers(1, 10**6), data=an_object(image=WORDS), project=st.integers(1, 9), drafts=DRAWN, annotations=DRAWN
)
WEBHOOKS = an_object(
    action=st.sampled_from(["TASKS_CREATED", "ANNOTATION_CREATED", "START_TRAINING", "PROJECT_UPDATED", "?"]),
    project=an_object(id=st.integers(1, 9)),
    tasks=st.lists(nearly(TASKS), max_size=3),
    annotation=an_object(result=RESULTS, lead_time=NUMBERS, was_cancelled=st.booleans()),
)


def predict_bodies(label_config: str) -> Any_:
    """Bodies of `POST /predict` under a label config that can be served, or another text."""
    return an_object(
        tasks=st.lists(nearly(TASKS), max_size=3),
        project=st.sampled_from(["1.17", 1, "", None]),
        label_config=st.just(label_config),
        params=an_object(context=CONTEXTS, login=WORDS),
    )


def written(value: Any) -> bytes:
    """As it travels; `NaN` and half surrogates included, which Python's own writer lets pass."""
    return json.dumps(value).encode()
