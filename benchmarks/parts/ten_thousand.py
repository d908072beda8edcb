"""Ten thousand approved images, synthetic: `make bench ONLY=ten_thousand`. Time and memory of a count and a bootstrap.

The count asks a stand-in for Label Studio, which makes up each page of tasks: 3 polygons of 60 points in an image,
some 8 kB. One task has changed since the count before. The bootstrap draws from 10,000 held-out images with 3 garments
and 6 detections each. Each is measured in a process of its own; the memory is that process's most.
"""

from __future__ import annotations

import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np

from backend.detector.average_precision import IOU_THRESHOLDS, LabelMatches
from backend.label_studio.client import LabelStudio
from backend.settings import Settings
from benchmarks.table import Row
from training.annotations.count import ApprovalCounter
from training.evaluation.promotion import paired_bootstrap

IMAGES, REGIONS, POINTS = 10_000, 3, 60
LABELS, DETECTIONS = 6, 6
# What the measurements must not exceed: megabytes, seconds.
COUNT_LIMIT_MB, COUNT_LIMIT_S, BOOTSTRAP_LIMIT_S = 300, 5, 20


class _MadeUpLabelStudio:
    """Answers what a count asks, for `IMAGES` annotated tasks."""

    def annotated_task_ids(self, project_id: int) -> list[int]:
        return list(range(1, IMAGES + 1))

    def count_annotated(self, project_id: int) -> int:
        return IMAGES

    def changed_tasks(self, project_id: int, *, since: str) -> dict[int, str]:
        return {IMAGES: "2026-01-02T00:00:00+00:00"}

    def annotated_tasks(self, project_id: int, *, among: Sequence[int]) -> list[dict[str, Any]]:
        return [_task(number) for number in among]


def measure() -> list[Row]:
    """Returns the time and the memory of each, beside what they may take."""
    with tempfile.TemporaryDirectory() as name:
        first_s, first_mb = _in_a_process(_count_everything, Path(name))
        again_s, again_mb = _in_a_process(_count_changes, Path(name))
    bootstrap_s, bootstrap_mb = _in_a_process(_bootstrap, Path())
    return [
        _row("count of what changed, time / limit", again_s, COUNT_LIMIT_S, "s"),
        _row("count of what changed, memory / limit", again_mb, COUNT_LIMIT_MB, "MB"),
        _row("count of everything, memory / limit", first_mb, COUNT_LIMIT_MB, "MB"),
        _row("count of everything, time / a minute", first_s, 60, "s"),
        _row("bootstrap, time / limit", bootstrap_s, BOOTSTRAP_LIMIT_S, "s"),
        _row("bootstrap, memory / limit", bootstrap_mb, 3000, "MB"),
    ]


def _row(name: str, ours: float, limit: float, unit: str) -> Row:
    return Row(f"{IMAGES:,} approved images: {name}", ours, limit, limit / ours, unit, 1)


def _in_a_process(action: Callable[[Path], None], folder: Path) -> tuple[float, float]:
    """Returns the seconds that the action takes, and the most megabytes of its process."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_measured, (action, folder))


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
