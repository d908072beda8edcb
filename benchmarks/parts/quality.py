"""How good masks are, and how many clicks they cost: `make bench ONLY=quality`.

On drawn figures, or with `DATA=folder PALETTE=street` on any annotated set that `drape import` reads.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, TypeAlias

import cv2
import numpy as np
import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from backend.detector.sam_detectors import bounding_box
from backend.domain import Image, Mask, Outlining, Photo, Prompt, Segment
from backend.regions.polygons import mask_to_outlines, outline_to_mask
from backend.segmenters.base import Segmenter
from backend.segmenters.builtin.network import load_builtin
from backend.segmenters.builtin.segmenter import BuiltinSegmenter
from backend.segmenters.loader import choose
from backend.settings import Settings
from backend.telemetry.metrics import Metrics
from benchmarks.command import exit_on_known_errors
from benchmarks.photographs.palette_config import palette_config
from benchmarks.table import Row
from label_studio_config.demo.figures import draw_figure
from training.evaluation.held_out import HeldOut
from training.garment_base.photograph_set import read_photographs
from training.metrics.interactive import click_ious, iou, iou_at_click, number_of_clicks

Objects: TypeAlias = Sequence[tuple[Photo, Mask]]

# Seeds that nothing was tuned on.
SEEDS = range(1000, 1006)
# Photographs are not reduced, and garments with fewer pixels not asked for: as in the project's other figures.
LONGEST_SIDE_PX, LEAST_PX = 2048, 400
REPORT = Path("var/quality.json")
FLOOD_TOLERANCE = (12, 12, 12)


@dataclass(frozen=True)
class Clicks:
    """How one segmenter answers a simulated annotator.

    Attributes:
        iou_1, iou_3, iou_5: mean IoU after so many clicks, in `[0, 1]`.
        noc_85, noc_90: mean number of clicks to IoU 0.85 and 0.90, at most 20; None where it is not published.
        box: mean IoU of the answer to the box around each object; None where it is not published.
        n: number of objects; None where it is not ours.
        source: 'measured here', or whose figure on which images it is: not comparable with ours.
    """

    segmenter: str
    clicks: str
    iou_1: float
    iou_3: float
    iou_5: float
    noc_85: float | None
    noc_90: float | None
    box: float | None
    n: int | None
    source: str = "measured here"


@dataclass(frozen=True)
class Outlines:
    """What is lost when masks become polygons: mean IoU with the mask, mean number of points."""

    tolerance_px: float
    iou: float
    points: float
    n: int


# SAM 3's paper (Carion et al. 2025), mean IoU after 1, 3 and 5 clicks.
THEIRS = (
    Clicks("SAM 3", "theirs", 0.661, 0.813, 0.851, None, None, None, None, "their paper, on their own benchmark"),
)


class FloodFill:
    """The plainest answers, to compare with: OpenCV's flood fill at each click in turn, and all of a box."""

    name = "flood fill"

    def segment(self, image: Photo, prompt: Prompt) -> list[Segment]:
        """One mask `bool (H, W)`; see `Segmenter`."""
        mask = np.zeros(image.pixels.shape[:2], bool)
        for box in prompt.boxes:
            # All of it is meant: there is no plainer answer.
            mask[int(box.y_min) : int(box.y_max), int(box.x_min) : int(box.x_max)] = True
        for point in prompt.points:
            flooded = np.zeros((mask.shape[0] + 2, mask.shape[1] + 2), np.uint8)
            seed = min(int(point.x), mask.shape[1] - 1), min(int(point.y), mask.shape[0] - 1)
            flags = 4 | cv2.FLOODFILL_MASK_ONLY | cv2.FLOODFILL_FIXED_RANGE | (1 << 8)
            cv2.floodFill(image.pixels.copy(), flooded, seed, (0, 0, 0), FLOOD_TOLERANCE, FLOOD_TOLERANCE, flags)
            part = flooded[1:-1, 1:-1] > 0
            mask = mask | part if point.positive else mask & ~part
        return [Segment(mask=mask, score=0.5)] if mask.any() else []


def measure() -> list[Row]:
    """Every segmenter that is here against a flood fill on drawn figures; all of it goes to `var/quality.json`."""
    found = report(drawn(), segmenters(), REPORT)
    plain = next(result for result in found if result.segmenter == FloodFill.name)
    return [
        row
        for result in found
        if result.n and result.clicks == plain.clicks and result is not plain
        for row in _rows(result, plain)
    ]


def segmenters() -> list[Segmenter]:
    """The flood fill, Drape's own, and the one that the settings choose, where it is another.

    Raises:
        ModelError: the settings ask for one that does not load.
    """
    chosen = choose(Settings(), Metrics())
    known: list[Segmenter] = [FloodFill(), load_builtin()]
    return known if chosen.name == BuiltinSegmenter.name else [*known, chosen]


def drawn() -> Objects:
    """Every garment of the figures of `SEEDS`."""
    figures = [draw_figure(seed) for seed in SEEDS]
    return [
        (Image(figure.pixels, f"figure {figure.seed}", f"figure {figure.seed}"), instance.mask)
        for figure in figures
        for instance in figure.instances
    ]


def photographed(photographs: Sequence[HeldOut]) -> Objects:
    """Every garment of annotated photographs that has at least `LEAST_PX` pixels."""
    return [
        (photograph.image, garment.mask)
        for photograph in photographs
        for garment in photograph.truth
        if np.count_nonzero(garment.mask) >= LEAST_PX
    ]


def report(objects: Objects, answering: Iterable[Segmenter], path: Path) -> list[Clicks]:
    """Measures, prints the tables and writes them to `path`."""
    console = Console()
    found = [
        clicks(segmenter, objects, jittered=jittered, console=console)
        for segmenter in answering
        for jittered in (False, True)
    ]
    polygons = [outlines(objects, tolerance_px=tolerance) for tolerance in (0.5, 1.2, 2.0)]
    console.print(_clicks_table([*found, *THEIRS]), _outlines_table(polygons))
    path.parent.mkdir(parents=True, exist_ok=True)
    content = {
        "clicks": [asdict(result) for result in (*found, *THEIRS)],
        "polygons": [asdict(polygon) for polygon in polygons],
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    console.print(f"Written to {path}")
    return found


def clicks(segmenter: Segmenter, objects: Objects, *, jittered: bool, console: Console | None = None) -> Clicks:
    """Runs the simulated annotator on every object."""
    kind = "jittered" if jittered else "centre"
    runs = []
    for number, (image, truth) in track(
        enumerate(objects), f"{segmenter.name}, {kind}", len(objects), console=console, transient=True
    ):
        jitter = np.random.default_rng(number) if jittered else None
        runs.append(click_ious(segmenter, image, truth, min_clicks=5, target_iou=0.9, jitter=jitter))
    iou_1, iou_3, iou_5 = (float(np.mean([iou_at_click(run, click) for run in runs])) for click in (1, 3, 5))
    noc_85, noc_90 = (float(np.mean([number_of_clicks(run, wanted) for run in runs])) for wanted in (0.85, 0.9))
    boxed = [iou(_boxed(segmenter, image, truth), truth) for image, truth in objects]
    return Clicks(segmenter.name, kind, iou_1, iou_3, iou_5, noc_85, noc_90, float(np.mean(boxed)), len(runs))


def _boxed(segmenter: Segmenter, image: Photo, truth: Mask) -> Mask:
    segments = segmenter.segment(image, Prompt(boxes=(bounding_box(truth),)))
    return segments[0].mask if segments else np.zeros_like(truth)


def outlines(objects: Objects, *, tolerance_px: float) -> Outlines:
    """Makes every mask polygons and paints them again."""
    ious, points = [], []
    for _, truth in objects:
        parts = mask_to_outlines(truth, Outlining(tolerance_px=tolerance_px))
        height, width = truth.shape
        painted = np.logical_or.reduce([outline_to_mask(part, size_wh=(width, height)) for part in parts])
        ious.append(iou(painted, truth))
        points.append(sum(map(len, parts)))
    return Outlines(tolerance_px, float(np.mean(ious)), float(np.mean(points)), len(objects))


def _rows(ours: Clicks, plain: Clicks) -> list[Row]:
    pair, n = f"{ours.segmenter} / {plain.segmenter}, drawn figures", ours.n or 0
    rows = [
        Row(f"mean IoU at click {count}: {pair}", own, theirs, own / max(theirs, 1e-6), "IoU", n)
        for count, own, theirs in (
            (1, ours.iou_1, plain.iou_1),
            (3, ours.iou_3, plain.iou_3),
            (5, ours.iou_5, plain.iou_5),
        )
    ]
    if ours.box is not None and plain.box is not None:
        ratio = ours.box / max(plain.box, 1e-6)
        rows.append(Row(f"mean IoU of a box: {pair}", ours.box, plain.box, ratio, "IoU", n))
    for wanted, own, theirs in ((0.85, ours.noc_85, plain.noc_85), (0.9, ours.noc_90, plain.noc_90)):
        if own is not None and theirs is not None:
            rows.append(Row(f"clicks to IoU {wanted}, 20 at most: {pair}", own, theirs, theirs / own, "clicks", n))
    return rows


def _clicks_table(found: list[Clicks]) -> Table:
    table = Table("segmenter", "clicks", "IoU at 1", "at 3", "at 5", "NoC 85", "NoC 90", "box", "n", "source")
    for result in found:
        counts = ("" if noc is None else f"{noc:.1f}" for noc in (result.noc_85, result.noc_90))
        ious = (f"{100 * value:.1f}" for value in (result.iou_1, result.iou_3, result.iou_5))
        box = "" if result.box is None else f"{100 * result.box:.1f}"
        table.add_row(result.segmenter, result.clicks, *ious, *counts, box, str(result.n or ""), result.source)
    return table


def _outlines_table(found: list[Outlines]) -> Table:
    table = Table("polygon tolerance, px", "IoU with the mask", "points", "n")
    for result in found:
        table.add_row(f"{result.tolerance_px:g}", f"{100 * result.iou:.2f}", f"{result.points:.0f}", str(result.n))
    return table


def main(
    data: Annotated[Path | None, typer.Argument(help="An annotated set of photographs; none: drawn figures.")] = None,
    palette: Annotated[str, typer.Option(help="The palette whose labels the garments get.")] = "street",
    first: Annotated[int, typer.Option(help="Number of the first photograph that judges, from 0.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="So many garments of the set, at random; none: all.")] = None,
    into: Annotated[Path, typer.Option(help="The JSON file that is written.")] = REPORT,
) -> None:
    """Mean IoU after 1, 3 and 5 clicks and for a box, clicks to IoU 0.85 and 0.90, and what polygons lose."""
    with exit_on_known_errors(Console()), TemporaryDirectory() as folder:
        objects = drawn()
        if data is not None:
            config = palette_config(palette)
            found = read_photographs(data, config, side_px=LONGEST_SIDE_PX, folder=Path(folder), first=first)
            objects = photographed(found)
            order = np.random.default_rng(0).permutation(len(objects))[:limit]
            objects = [objects[number] for number in sorted(order)]
        report(objects, segmenters(), into)


if __name__ == "__main__":
    typer.run(main)
