from __future__ import annotations

from typing import Any

import pytest

from backend.errors import ImageError
from backend.images.task_image import image_url
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.payloads import Task


def url_of(data: dict[str, Any], key: str) -> str:
    drawn = '<PolygonLabels name="p" toName="i"><Label value="x"/></PolygonLabels>'
    config = parse_label_config(f'<View><Image name="i" value="{key}"/>{drawn}</View>')
    return image_url(Task(id=3, data=data), config)


def test_a_nested_address_and_a_list_of_one_are_the_image() -> None:
    assert url_of({"photo": {"url": "/a.jpg"}}, "$photo.url") == "/a.jpg"
    assert url_of({"image": ["/a.jpg"]}, "$image") == "/a.jpg"


@pytest.mark.parametrize(
    ("data", "said"),
    [
        ({"image": ["/a.jpg", "/b.jpg"]}, r"Task 3 has 2 images under the key '\$image': .* a task of its own"),
        ({"image": []}, r"Task 3 has no image under the key '\$image'"),
        ({"image": {"url": "/a.jpg"}}, "no image"),
        ({"photo": "/a.jpg"}, "no image"),
    ],
)
def test_a_task_without_one_image_says_so(data: dict[str, Any], said: str) -> None:
    with pytest.raises(ImageError, match=said):
        url_of(data, "$image")
