"""Brushes, written and read: against label-studio-sdk, on the same masks. `python -m benchmarks.parts.brush`."""

from __future__ import annotations

import numpy as np
from label_studio_sdk.converter import brush as sdk
from rich.console import Console

from backend.domain import Mask
from backend.regions.brush import mask_to_rle, rle_to_mask
from benchmarks.parts.polygon import garment_of_two_megapixels
from benchmarks.table import Row, timed
from label_studio_config.demo.figures import draw_figure

ROUNDS = 15


def measure() -> list[Row]:
    """Times of writing and reading, in milliseconds."""
    drawn = max((instance.mask for instance in draw_figure(1).instances), key=np.count_nonzero)
    return [*_both("drawn figure", drawn), *_both("2 megapixels", garment_of_two_megapixels())]


def _both(name: str, mask: Mask) -> list[Row]:
    height, width = mask.shape
    values = mask.astype(np.uint8) * 255
    rle = mask_to_rle(mask)
    pairs = {
        "written": (lambda _: mask_to_rle(mask), lambda _: sdk.mask2rle(values)),
        "read": (lambda _: rle_to_mask(rle, size_wh=(width, height)), lambda _: sdk.decode_rle(rle)),
    }
    rows = []
    for verb, (our_way, other_way) in pairs.items():
        ours, other = 1000 * timed(our_way, ROUNDS)[0], 1000 * timed(other_way, ROUNDS)[0]
        rows.append(Row(f"brush {verb}, {name}", ours, other, other / ours, "ms", ROUNDS))
    return rows


if __name__ == "__main__":
    for row in measure():
        Console().print(row)
