from __future__ import annotations

from typing import Any

import pytest

from backend.label_studio.label_config import parse_label_config
from label_studio_config.palette_xml import GARMENTS, palette
from training.dataset.named_groups import named_group

CONFIG = parse_label_config(palette(GARMENTS))
LOCAL = "/data/local-files/?d=shoots/may%202/look12_front.jpg"
UPLOAD = "/data/upload/7/0123abcd-look12_front.jpg"

# the image's address, SPLIT_BY, the group's name
GROUPS = [
    (LOCAL, "folder", "shoots/may 2"),
    (LOCAL, "prefix:_", "look12"),
    (LOCAL, "prefix:4", "look"),
    (LOCAL, "prefix:40", "look12_front"),
    (LOCAL, "prefix:-", None),
    ("/data/local-files/?d=a/saree_12_front.1.jpg", "prefix:_", "saree_12"),
    # Label Studio's random prefix is not the file's name; its folder is no one's.
    (UPLOAD, "prefix:_", "look12"),
    (UPLOAD, "prefix:4", "look"),
    (UPLOAD, "folder", None),
    # Uploads by `drape import`.
    ("/data/upload/7/0123abcd-shoots__may__look12_front.jpg", "folder", "shoots__may"),
    ("/data/upload/7/0123abcd-shoots__may__look12_front.jpg", "prefix:_", "look12"),
    ("/data/upload/7/0123abcd-0123456789ab__may__look12_front.jpg", "folder", "may"),
    ("s3://bucket/may/look12_front.jpg", "folder", "bucket/may"),
    ("https://host/may/look12_front.jpg?signature=a/b_c", "folder", "host/may"),
    ("https://host/may/look12_front.jpg?signature=a/b_c", "prefix:_", "look12"),
    ("data:image/png;base64,aa_aa/bb", "folder", None),
    ("data:image/png;base64,aa_aa/bb", "prefix:_", None),
]


@pytest.mark.parametrize(("url", "split_by", "name"), GROUPS)
def test_the_address_says_the_group(url: str, split_by: str, name: str | None) -> None:
    assert named_group({"image": url}, CONFIG, split_by=split_by) == (None if name is None else f"{split_by}={name}")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        ({"shoot": "may"}, "may"),
        ({"shoot": 7}, "7"),
        ({"shoot": 0}, "0"),
        ({"shoot": ""}, None),
        ({"shoot": None}, None),
        ({}, None),
    ],
)
def test_the_field_says_the_group(data: dict[str, Any], name: str | None) -> None:
    assert named_group(data, CONFIG, split_by="field:shoot") == (None if name is None else f"field:shoot={name}")
    assert named_group({"image": LOCAL, **data}, CONFIG, split_by="") is None
