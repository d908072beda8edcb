"""From mask to polygon: vertices and time, against Douglas and Peucker under the same bounds.

The other way follows the same pixel border with `cv2.approxPolyDP`, and tightens it until the outline does not meet
itself and paints the mask with the same IoU; how far it is from the border it keeps of itself. Run alone on the
machine: `python -m benchmarks.parts.polygon`.
"""

from __future__ import annotations

import json

import cv2
import numpy as np
import shapely
from rich.console import Console

from backend.domain import LabelledMask, Mask, Outlining
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.payloads import PredictRequest
from backend.label_studio.prompts import parse_context
from backend.regions.encode import encode
from backend.regions.mask_borders import Border, split_specks, trace
from backend.regions.polygons import MIN_IOU, TIGHTENING, Outline, mask_to_outlines, outline_to_mask
from benchmarks.table import Row, timed
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette_xml import GARMENTS, palette

ROUNDS = 40
FIGURES = 30
SIZE_WH = (1224, 1634)
ALLOWED_MS = 8.0
OUTLINING = Outlining()


def measure() -> list[Row]:
    """Vertices of drawn garments, and milliseconds for one mask of 2 megapixels."""
    garments = [instance.mask for seed in range(FIGURES) for instance in draw_figure(seed).instances]
    ours = [_vertices(mask_to_outlines(mask, OUTLINING)) for mask in garments]
    other = [_vertices(douglas_peucker(mask)) for mask in garments]
    rows = [_row(f"polygon's vertices, {name}", f(ours), f(other), "", len(garments)) for name, f in STATISTICS.items()]
    mask = garment_of_two_megapixels()
    taken = 1000 * timed(lambda _: mask_to_outlines(mask, OUTLINING), ROUNDS)[0]
    other_way = 1000 * timed(lambda _: douglas_peucker(mask), ROUNDS)[0]
    rows.append(_row("mask of 2 megapixels to polygon", taken, other_way, "ms", ROUNDS))
    request = _request(mask)
    whole = 1000 * timed(lambda _: _answer(request, mask), ROUNDS)[0]
    rows.append(_row("a click's answer without the model, against what it may take", whole, ALLOWED_MS, "ms", ROUNDS))
    return rows


STATISTICS = {
    "median": lambda counts: float(np.median(counts)),
    "95th percentile": lambda counts: float(np.percentile(counts, 95)),
}


def garment_of_two_megapixels() -> Mask:
    """A drawn saree, enlarged with a smooth border to a third of 2 megapixels."""
    drawn = max((instance.mask for instance in draw_figure(4).instances), key=np.count_nonzero)
    left, top, width, height = cv2.boundingRect(drawn.view(np.uint8))
    window = np.pad(drawn[top : top + height, left : left + width], ((20, 20), (60, 60))).astype(np.float32)
    large = cv2.resize(window, SIZE_WH, interpolation=cv2.INTER_LINEAR)
    return np.asarray(cv2.GaussianBlur(large, (0, 0), 6) > 0.5)


def douglas_peucker(mask: Mask) -> list[Outline]:
    """Outlines of the parts by `cv2.approxPolyDP`: as coarse as the same tolerance and IoU allow."""
    borders, _ = split_specks(trace(mask), speck_px=OUTLINING.speck_px(mask.size))
    return [_thinned(border, mask.shape) for border in borders if border.area_px > 0]


def _thinned(border: Border, shape: tuple[int, ...]) -> Outline:
    height, width = shape
    corners = border.corners()
    whole = outline_to_mask(corners.astype(np.float64), size_wh=(width, height))
    epsilon = OUTLINING.tolerance_px
    while True:
        outline = cv2.approxPolyDP(corners.astype(np.int32)[:, None], epsilon, True)[:, 0].astype(np.float64)
        if len(outline) >= 3 and shapely.Polygon(outline).is_valid:
            painted = outline_to_mask(outline, size_wh=(width, height))
            if np.count_nonzero(painted & whole) >= MIN_IOU * np.count_nonzero(painted | whole):
                return outline
        if epsilon < 0.1:
            return corners.astype(np.float64)
        epsilon *= TIGHTENING


def _vertices(outlines: list[Outline]) -> int:
    return sum(len(outline) for outline in outlines)


def _row(name: str, ours: float, other: float, unit: str, n: int) -> Row:
    return Row(name, ours, other, other / ours, unit, n)


def _request(mask: Mask) -> str:
    """A click as Label Studio sends it."""
    height, width = mask.shape
    common = {"id": "a", "to_name": "image", "original_width": width, "original_height": height}
    value = {"x": 50.0, "y": 50.0, "width": 0.4, "keypointlabels": ["saree"]}
    click = {**common, "type": "keypointlabels", "from_name": "click", "value": value, "is_positive": True}
    body = {
        "tasks": [{"id": 1, "data": {"image": "/data/upload/1/a.jpg"}}],
        "label_config": palette(GARMENTS),
        "project": "1.1",
        "params": {"context": {"result": [click]}},
    }
    return json.dumps(body)


def _answer(request: str, mask: Mask) -> str:
    """All that is ours between a click and its answer, but for the image and the model."""
    parsed = PredictRequest.model_validate_json(request)
    config = parse_label_config(parsed.label_config)
    parse_context(parsed.context or {}, config, size_wh=(mask.shape[1], mask.shape[0]), example_tag="example")
    regions = encode(LabelledMask(mask, "saree", 0.9), config, outlining=OUTLINING, model_version="benchmark")
    return json.dumps({"results": [{"result": regions, "score": 0.9}]})


if __name__ == "__main__":
    for row in measure():
        Console().print(row)
