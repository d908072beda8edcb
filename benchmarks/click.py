"""What a click costs: with the image's embedding kept, as here, against encoding the image for every click.

MobileSAM's architecture with weights initialised at random: the time does not depend on what they are.
Run alone on the machine: `make bench`.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from backend.domain import Image, LabelledMask, Outlining, Point, Prompt
from backend.label_config import parse_label_config
from backend.metrics import Metrics
from backend.regions import encode
from backend.segmenters import Segmenter
from backend.segmenters.classical import ClassicalSegmenter
from backend.segmenters.embeddings import EmbeddingCache, MemoryTier
from backend.segmenters.sam import load_sam
from benchmarks.random_weights import random_mobile_sam
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette import GARMENTS, palette

CLICKS = 40
FULL_ENCODES = 12


def timed(action: Callable[[int], object], rounds: int) -> tuple[float, float]:
    """Median and 95th percentile of `action(round)`, in seconds."""
    action(0)
    taken = []
    for number in range(rounds):
        started = time.perf_counter()
        action(number)
        taken.append(time.perf_counter() - started)
    return float(np.median(taken)), float(np.percentile(taken, 95))


def main() -> None:
    """Prints the table: the ratio first."""
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
        ours = timed(lambda number: click(sam, number, "one image"), CLICKS)
        plain = timed(lambda number: click(sam, number, f"image {number} {time.time()}"), FULL_ENCODES)
    classical = timed(lambda number: click(ClassicalSegmenter(), number, "one image"), CLICKS)
    table = Table("click to polygon, CPU", "times faster", "median ms", "95th ms")
    table.add_row("MobileSAM, image encoded at every click", "1.0", *(f"{1000 * s:.0f}" for s in plain))
    table.add_row("MobileSAM, embedding kept (ours)", f"{plain[0] / ours[0]:.1f}", *(f"{1000 * s:.0f}" for s in ours))
    table.add_row("classical, no weights", f"{plain[0] / classical[0]:.1f}", *(f"{1000 * s:.0f}" for s in classical))
    Console().print(table)


if __name__ == "__main__":
    main()
