from __future__ import annotations

import base64
import re

import pytest

from backend.errors import ImageError
from backend.label_studio.data_url import read_data_url, short_name
from backend.label_studio.uploads import image_name

CONTENT = bytes(range(250))
BASE64 = base64.b64encode(CONTENT).decode()
ADDRESSES = [
    f"data:image/png;base64,{BASE64}",
    f"DATA:image/jpeg;charset=utf-8;BASE64,{BASE64}",
    f"data:;base64,{BASE64.replace('+', '%2B').replace('/', '%2F').replace('=', '%3D')}",
    # Browsers need no padding.
    f"data:image/png;base64,{BASE64.rstrip('=')}",
    "data:image/bmp," + "".join(f"%{byte:02x}" for byte in CONTENT),
]


@pytest.mark.parametrize("url", ADDRESSES)
def test_the_bytes_are_read_up_to_the_limit_and_no_further(url: str) -> None:
    assert read_data_url(url, max_bytes=len(CONTENT)) == CONTENT
    with pytest.raises(ImageError, match=re.escape("is larger than 249 bytes (IMAGE_MAX_BYTES)")) as refused:
        read_data_url(url, max_bytes=len(CONTENT) - 1)
    assert len(str(refused.value)) < 200


def test_an_address_without_an_image_says_so() -> None:
    with pytest.raises(ImageError, match="'data:image/png;base64,…' is empty"):
        read_data_url("data:image/png;base64", max_bytes=100)


def test_base64_that_is_cut_short_says_so() -> None:
    with pytest.raises(ImageError, match="'data:image/png;base64,…' is cut short, or is not base64"):
        read_data_url(f"data:image/png;base64,{BASE64.rstrip('=')[:-1]}", max_bytes=1000)


def test_a_name_is_short_and_belongs_to_one_image() -> None:
    names = {short_name(f"data:image/png;base64,{BASE64}{ending}") for ending in ("", "AAAA", "BBBB")}
    assert len(names) == 3 and all(len(name) < 120 for name in names)
    assert image_name(ADDRESSES[0]) == short_name(ADDRESSES[0])
    assert short_name("/data/upload/1/a.png") == "/data/upload/1/a.png"
