"""Ten thousand approved images, synthetic: `make bench ONLY=ten_thousand`. Time and memory of what is done with them.

The count asks a stand-in for Label Studio, which makes up each page of tasks: 3 polygons of 60 points in an image,
some 8 kB. One task has changed since the count before. The bootstrap draws from 10,000 held-out images with 3 garments
and 6 detections each. The evaluation is of the 2,000 that a training holds out: images of noise at 1,024 pixels, and a
model that finds their three ellipses not quite where they are; it ends with the report, and no network runs. Each is
measured in a process of its own; the memory is that process's most.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
from rich.console import Console

from backend.detector.average_precision import IOU_THRESHOLDS, LabelMatches
from backend.domain import Detection, Image, LabelledMask, Mask, Photo, Scene
from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import parse_label_config
from backend.registry.registry import Registry
from backend.settings import Settings
from benchmarks.table import Row
from label_studio_config.palette_xml import palette
from training.annotations.count import ApprovalCounter
from training.dataset.split import VAL_SHARE
from training.evaluation.compact_scenes import CompactMasks
from training.evaluation.held_out import HeldOut, store_pixels
from training.evaluation.promotion import paired_bootstrap

IMAGES, REGIONS, POINTS = 10_000, 3, 60
LABELS, DETECTIONS = 6, 6
# What the measurements must not exceed: megabytes, seconds.
COUNT_LIMIT_MB, COUNT_LIMIT_S, BOOTSTRAP_LIMIT_S, TRAINING_LIMIT_MB = 300, 5, 20, 3000
# How many a training holds out, and the longer side at which a model sees them, in pixels.
HELD_OUT, SIDE_PX = round(VAL_SHARE * IMAGES), 1024
MOST_OFF_PX = 60
GARMENTS = ("saree", "blouse", "dupatta")
CONFIG = parse_label_config(palette(GARMENTS))


class _MadeUpLabelStudio:
    """Answers what a count asks, for `IMAGES` annotated tasks."""

    def annotated_task_ids(self, project_id: int) -> list[int]:
        return list(range(1, IMAGES + 1))

    def changed_tasks(self, project_id: int, *, since: datetime) -> tuple[dict[int, str], int]:
        return {IMAGES: "2026-01-02T00:00:00+00:00"}, IMAGES

    def annotated_tasks(self, project_id: int, *, among: Sequence[int]) -> list[dict[str, Any]]:
        return [_task(number) for number in among]


def measure() -> list[Row]:
    """Returns the time and the memory of each, beside what they may take."""
    bootstrap_s, bootstrap_mb = _in_a_process("bootstrap", _bootstrap)
    with tempfile.TemporaryDirectory() as name:
        first_s, first_mb = _in_a_process("count of everything", _count_everything, Path(name))
        again_s, again_mb = _in_a_process("count of what changed", _count_changes, Path(name))
    with tempfile.TemporaryDirectory() as name:
        evaluation_s, evaluation_mb = _in_a_process("evaluation and report", _evaluate, Path(name))
    return [
        _row("count of what changed, time / limit", again_s, COUNT_LIMIT_S, "s"),
        _row("count of what changed, memory / limit", again_mb, COUNT_LIMIT_MB, "MB"),
        _row("count of everything, memory / limit", first_mb, COUNT_LIMIT_MB, "MB"),
        _row("count of everything, time / a minute", first_s, 60, "s"),
        _row("bootstrap, time / limit", bootstrap_s, BOOTSTRAP_LIMIT_S, "s"),
        _row("bootstrap, memory / limit", bootstrap_mb, TRAINING_LIMIT_MB, "MB"),
        _row("evaluation and report, memory / limit", evaluation_mb, TRAINING_LIMIT_MB, "MB"),
        _row("evaluation and report, time / ten minutes", evaluation_s, 600, "s"),
    ]


def _row(name: str, ours: float, limit: float, unit: str) -> Row:
    return Row(f"{IMAGES:,} approved images: {name}", ours, limit, limit / ours, unit, 1)


def _in_a_process(what: str, action: Callable[[Path], None], folder: Path = Path()) -> tuple[float, float]:
    """Returns the seconds that the action takes, and the most megabytes of its process; prints both."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        taken_s, most_mb = pool.apply(_measured, (action, folder))
    Console().print(f"{what}: {taken_s:.1f} s, {most_mb:,.0f} MB")
    return taken_s, most_mb


def _measured(action: Callable[[Path], None], folder: Path) -> tuple[float, float]:
    started = time.perf_counter()
    action(folder)
    return time.perf_counter() - started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _count_everything(folder: Path) -> None:
    assert len(_counter(folder).recount().approved) == IMAGES


def _count_changes(folder: Path) -> None:
    assert len(_counter(folder).update().approved) == IMAGES


def _counter(folder: Path) -> ApprovalCounter:
    return ApprovalCounter(Settings(data_dir=folder), cast(LabelStudio, _MadeUpLabelStudio()), 1)


def _task(number: int) -> dict[str, Any]:
    rng = np.random.default_rng(number)
    result = [
        {
            "id": f"{number}-{region}",
            "from_name": "polygon",
            "to_name": "image",
            "type": "polygonlabels",
            "original_width": 1200,
            "original_height": 1800,
            "value": {"points": rng.uniform(0, 100, (POINTS, 2)).tolist(), "polygonlabels": ["saree"]},
        }
        for region in range(REGIONS)
    ]
    at = "2026-01-02T00:00:00Z" if number == IMAGES else "2026-01-01T00:00:00Z"
    annotation = {"id": number, "created_at": at, "updated_at": at, "result": result}
    return {"id": number, "data": {"image": f"/data/{number}.jpg"}, "updated_at": at, "annotations": [annotation]}


def _bootstrap(_: Path) -> None:
    assert paired_bootstrap(dict(_matches(1)), dict(_matches(2))) is not None


def _matches(seed: int) -> Iterator[tuple[str, LabelMatches]]:
    rng = np.random.default_rng(seed)
    for label in range(LABELS):
        garments = np.random.default_rng(label).binomial(1, 0.5, IMAGES)
        images = rng.permutation(np.repeat(np.arange(IMAGES), DETECTIONS // LABELS))
        # The first of an image's detections is right where the image has a garment.
        iou = np.where(garments[images] > 0, rng.normal(0.75, 0.15, len(images)), 0.0)
        yield f"label {label}", LabelMatches(garments, images, tuple(np.flatnonzero(iou >= t) for t in IOU_THRESHOLDS))


class _NearlyRight:
    """Finds each garment of the images in order, some pixels beside its place, and one that is not there."""

    def detect(self, images: Iterable[Photo], *, min_score: float) -> Iterator[Scene]:
        for number, image in enumerate(images):
            height, width = image.pixels.shape[:2]
            rng = np.random.default_rng(number)
            masks = [
                _ellipse((width, height), number + place, by_px=int(rng.integers(0, MOST_OFF_PX)))
                for place in range(len(GARMENTS) + 1)
            ]
            found = zip(masks, (*GARMENTS, GARMENTS[0]), sorted(rng.random(len(masks)), reverse=True), strict=True)
            yield Scene(tuple(Detection(mask, label, float(score)) for mask, label, score in found))


def _evaluate(folder: Path) -> None:
    # Imported here because they take memory, which a count does not.
    from training.evaluation.score import evaluate_detector
    from training.report.report import write_report

    held_out = list(_held_out(folder / "held_out"))
    evaluated = evaluate_detector(_NearlyRight(), held_out, CONFIG, labels=GARMENTS, min_score=0.25)
    weights = folder / "weights.pt"
    weights.touch()
    registry = Registry(folder / "models")
    facts: dict[str, Any] = {"parent": None, "metrics": {}, "annotations": {}, "image_size_px": SIDE_PX}
    version = registry.add(1, weights=weights, classes=GARMENTS, origin="training", **facts)
    write_report(
        version,
        versions=[version],
        held_out=held_out,
        evaluated=evaluated,
        config=CONFIG,
        title="Ten thousand images",
        settings=Settings(data_dir=folder),
    )


def _held_out(folder: Path) -> Iterator[HeldOut]:
    size_wh = SIDE_PX * 2 // 3, SIDE_PX
    for number in range(HELD_OUT):
        pixels = np.random.default_rng(number).integers(0, 256, (*size_wh[::-1], 3), np.uint8)
        image = store_pixels(Image(pixels, f"{number:064x}", str(number)), folder / f"{number}.npy")
        garments = (LabelledMask(_ellipse(size_wh, number + place), label) for place, label in enumerate(GARMENTS))
        yield HeldOut(number, number, image, CompactMasks(garments))


def _ellipse(size_wh: tuple[int, int], number: int, *, by_px: int = 0) -> Mask:
    """Draws one of twelve ellipses that do not cover each other, moved to the right."""
    width, height = size_wh
    row, column = divmod(number % 12, 3)
    drawn = np.zeros((height, width), np.uint8)
    centre = width * (2 * column + 1) // 6 + by_px, height * (2 * row + 1) // 8
    cv2.ellipse(drawn, centre, (width // 7, height // 9), 0, 0, 360, 1, -1)
    return drawn.astype(bool)
