from __future__ import annotations

from typing import Any

import pytest

from backend.label_studio.data_keys import UNDEFINED_KEY, image_in, plain_key

DATA: dict[str, Any] = {
    "image": "/a.jpg",
    "photo": {"url": "/b.jpg", "none": None},
    "dotted.name": "/c.jpg",
    "images": [{"url": "/d.jpg"}, {"url": "/e.jpg"}],
    "path": "f.jpg",
    "number": 7,
    "one": ["/g.jpg"],
    "two": ["/h.jpg", "/i.jpg"],
}
# the `value` of the image's tag, what Label Studio's page shows
KEYS = [
    ("$image", "/a.jpg"),
    ("$photo.url", "/b.jpg"),
    ("$dotted.name", "/c.jpg"),
    ("$images[0].url", "/d.jpg"),
    ("$images[1][url]", "/e.jpg"),
    ("https://example.com/$path", "https://example.com/f.jpg"),
    ("/data/$path?n=$number", "/data/f.jpg?n=7"),
    ("https://example.com/fixed.jpg", "https://example.com/fixed.jpg"),
    ("$one", "/g.jpg"),
    ("$two", ["/h.jpg", "/i.jpg"]),
    ("$missing", None),
    ("$photo.none", None),
    ("$photo.url.further", None),
    ("$images[2].url", None),
    ("$images.first", None),
    ("https://example.com/$missing", None),
    ("", None),
]


@pytest.mark.parametrize(("key", "shown"), KEYS)
def test_a_data_key_stands_for_what_the_page_shows(key: str, shown: object) -> None:
    assert image_in(DATA, key) == shown


def test_an_image_that_was_uploaded_before_the_config_is_found_under_a_plain_key() -> None:
    assert image_in({UNDEFINED_KEY: "/a.jpg"}, "$image") == "/a.jpg"
    assert not image_in({UNDEFINED_KEY: "/a.jpg"}, "$photo.url")


@pytest.mark.parametrize(("key", "name"), [("$image", "image"), ("$photo.url", None), ("a$b", None), ("image", None)])
def test_a_plain_key_names_one_value(key: str, name: str | None) -> None:
    assert plain_key(key) == name
