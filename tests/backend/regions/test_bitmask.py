from __future__ import annotations

import numpy as np
import pytest

from backend.domain import Mask
from backend.errors import RegionError
from backend.regions.bitmask import data_url_to_mask, mask_to_data_url
from tests.support import shapes


@pytest.mark.parametrize(("name", "mask"), sorted(shapes().items()))
def test_there_and_back(name: str, mask: Mask) -> None:
    assert np.array_equal(data_url_to_mask(mask_to_data_url(mask), size_wh=(97, 60)), mask)


GOOD = mask_to_data_url(shapes()["disk"])
# a URL, what is said of it
DAMAGED = [
    ("", "not a PNG"),
    (GOOD.replace("base64,", "base64,!"), "not a PNG"),
    ("data:image/png;base64,AAAA", "not a PNG"),
    (GOOD[:200], "not a PNG"),
    (mask_to_data_url(np.ones((4, 5), bool)), "5 x 4 pixels, but its image 97 x 60"),
]


@pytest.mark.parametrize(("url", "said"), DAMAGED)
def test_damaged_bitmasks_are_refused(url: str, said: str) -> None:
    with pytest.raises(RegionError, match=said):
        data_url_to_mask(url, size_wh=(97, 60))
