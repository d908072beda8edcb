from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from backend.domain import LabelledMask, Outlining
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.payloads import DrawnRegions
from backend.regions.encode import encode
from backend.regions.exclusive import occupied_pixels
from label_studio_config.palette_xml import GARMENTS, palette

CONFIG = parse_label_config(palette(GARMENTS))
SIZE_WH = (60, 40)


def version(columns: slice, at: str) -> dict[str, Any]:
    mask = np.zeros((40, 60), bool)
    mask[5:35, columns] = True
    regions = encode(LabelledMask(mask, "saree"), CONFIG, outlining=Outlining(tolerance_px=0), model_version="")
    return {"result": regions, "updated_at": at}


LEFT, RIGHT = slice(2, 20), slice(40, 58)

# drafts, annotations, whether the left and the right are taken
DRAWN = [
    ([], [], (False, False)),
    ([version(LEFT, "2026-02")], [version(RIGHT, "2026-03")], (True, False)),
    ([version(LEFT, "2026-02"), version(RIGHT, "2026-01")], [], (True, False)),
    ([], [version(LEFT, "2026-01"), version(RIGHT, "2026-02")], (False, True)),
    ([{"result": None}], [], (False, False)),
    (["nothing that Label Studio sends"], [17], (False, False)),
    (None, {"result": 5}, (False, False)),
    ([{"result": [{"type": "polygon", "value": {"points": "x"}}, 5], "updated_at": None}], [], (False, False)),
]


@pytest.mark.parametrize(("drafts", "annotations", "taken"), DRAWN)
def test_what_is_drawn_already_is_taken(drafts: Any, annotations: Any, taken: tuple[bool, bool]) -> None:
    pixels = occupied_pixels(DrawnRegions(drafts=drafts, annotations=annotations), SIZE_WH)
    assert pixels.shape == (40, 60)
    assert (bool(pixels[10:30, 5:18].all()), bool(pixels[10:30, 42:56].all())) == taken
    assert not pixels[:, 22:38].any()


def test_regions_of_an_image_of_another_size_take_nothing() -> None:
    drawn = DrawnRegions(drafts=[version(LEFT, "2026")])
    assert not occupied_pixels(drawn, (61, 40)).any()
