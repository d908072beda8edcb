"""What a click costs: with the image's embedding kept, as here, against encoding the image for every click.

MobileSAM's architecture with weights initialised at random: the time does not depend on what they are.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

from backend.domain import Image, LabelledMask, Outlining, Point, Prompt
from backend.label_studio.label_config import parse_label_config
from backend.regions.encode import encode
from backend.segmenters.base import Segmenter
from backend.segmenters.classical import ClassicalSegmenter
from backend.segmenters.embedding_cache import EmbeddingCache
from backend.segmenters.embedding_tiers import MemoryTier
from backend.segmenters.sam import load_sam
from backend.telemetry.metrics import Metrics
from benchmarks.random_weights import random_mobile_sam
from benchmarks.table import Row, faster, timed
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette_xml import GARMENTS, palette

CLICKS = 40
FULL_ENCODES = 12


def measure() -> list[Row]:
    """Click to polygon on the CPU: MobileSAM with its embedding kept, and the classical segmenter."""
    figure = draw_figure(1)
    config = parse_label_config(palette(GARMENTS))

    def click(segmenter: Segmenter, number: int, key: str) -> None:
        image = Image(figure.pixels, key, "benchmark")
        point = Point(200.0 + number, 300.0 + number)
        best = segmenter.segment(image, Prompt(points=(point,)))[0]
        encode(LabelledMask(best.mask, "saree", best.score), config, outlining=Outlining(), model_version="benchmark")

    with tempfile.TemporaryDirectory() as folder:
        embeddings = EmbeddingCache([MemoryTier("host", device="cpu", max_bytes=10**9)], disk=None, metrics=Metrics())
        weights = str(random_mobile_sam(Path(folder)))
        sam = load_sam(weights, device="cpu", embeddings=embeddings, metrics=Metrics())
        kept = timed(lambda number: click(sam, number, "one image"), CLICKS)
        anew = timed(lambda number: click(sam, number, f"image {number} {time.time()}"), FULL_ENCODES)
    classical = timed(lambda number: click(ClassicalSegmenter(), number, "one image"), CLICKS)
    return [
        faster("click to polygon, MobileSAM on CPU: embedding kept / image encoded at every click", kept, anew),
        faster("click to polygon, CPU: classical / MobileSAM, image encoded at every click", classical, anew),
    ]
