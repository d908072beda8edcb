"""Simulated annotators: they take what Label Studio serves, correct what it shows down to each prompt, and submit.

The truth is known. An annotator keeps a region that is right, clicks on one that is nearly right until it is, gives a
garment under the wrong label the right one, deletes what is no garment, and clicks on garments that were not found. The
next click is in the middle of the largest error. What is not right after six prompts is drawn by hand.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backend.domain import LabelledMask, Mask, Outlining, Point
from backend.errors import LabelStudioError
from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import LabelConfig
from backend.regions.decode import decode
from backend.regions.encode import encode
from benchmarks.flywheel.matching import Meant, match
from benchmarks.flywheel.open_task import OpenTask, Region
from benchmarks.flywheel.prices import Prices, effort
from benchmarks.flywheel.work import MOST_PROMPTS, TARGET_IOU, Click, Outlined, Work
from training.metrics.interactive import iou, next_click


@dataclass(frozen=True)
class Annotators:
    """People who work on one project.

    Attributes:
        backend_id: the id of the connected backend in Label Studio.
        truth: the garments of each image, by its file's name.
    """

    label_studio: LabelStudio
    project_id: int
    backend_id: int
    config: LabelConfig
    outlining: Outlining
    truth: Mapping[str, Sequence[LabelledMask]]

    def label_next(self) -> Work:
        """Labels the image that Label Studio serves next.

        Raises:
            LabelStudioError: Label Studio does not answer, or a prompt failed.
        """
        task = self._next_task()
        # Label Studio opens the latest one.
        prediction = max(task["predictions"], key=lambda one: int(one["id"]), default=None)
        result: list[Region] = prediction["result"] if prediction else []
        truth = list(self.truth[Path(task["data"]["image"]).name])
        opened = OpenTask(self.label_studio, self.backend_id, self.config, int(task["id"]))
        meant, left = match(decode(result)[0], truth)
        alone = self._outline_all(opened, [], [Meant(garment) for garment in truth])
        shown = regions_to_begin_with(result, meant, left)
        garments = self._outline_all(opened, shown, meant) if shown else alone
        work = Work(int(task["id"]), garments, alone, len(left))
        took = effort(garments, deleted=len(left), target_iou=TARGET_IOU, prices=Prices())
        opened.submit(parent=prediction and int(prediction["id"]), lead_time_s=took.seconds)
        return work

    def _next_task(self) -> dict[str, Any]:
        """Returns what *Label all tasks* gives next, with the prediction that it shows."""
        answer = self.label_studio.send(
            "POST", "/api/dm/actions", params={"id": "next_task", "project": self.project_id}, timeout_s=60
        )
        if not answer.is_success:
            raise LabelStudioError(f"Label Studio has no next task: {answer.status_code} {answer.text[:300]}")
        task: dict[str, Any] = answer.json()
        return task

    def _outline_all(self, opened: OpenTask, shown: Sequence[Region], meant: Sequence[Meant]) -> tuple[Outlined, ...]:
        """Has regions in the page, and corrects them one by one; the page then holds what would be submitted."""
        opened.show(shown)
        return tuple(self._outline(opened, one) for one in meant)

    def _outline(self, opened: OpenTask, meant: Meant) -> Outlined:
        clicks, regions = click_until_right(opened, meant)
        shown_id = meant.shown.region_id if meant.shown is not None else None
        is_replaced = bool(regions) and shown_id not in (None, *(region["id"] for region in regions))
        if clicks:
            if clicks[-1].iou < TARGET_IOU:
                by_hand = encode(meant.garment, self.config, outlining=self.outlining, model_version="annotator")
                regions = [region | {"origin": "manual"} for region in by_hand]
            opened.show([*(region for region in opened.regions if region["id"] != shown_id), *regions])
        return Outlined(meant.shown_iou, meant.is_relabelled, is_replaced, clicks)


def click_until_right(opened: OpenTask, meant: Meant) -> tuple[tuple[Click, ...], list[Region]]:
    """Clicks where the outline is most wrong, and returns the clicks and the last answer's regions.

    A click that changes nothing is followed by one elsewhere in the same error.

    Args:
        meant: its region, if it has one, is shown in `opened` under the garment's label.

    Raises:
        LabelStudioError: a prompt failed.
    """
    truth, label = meant.garment.mask, meant.garment.label
    height, width = truth.shape
    start = meant.shown.mask if meant.shown is not None else np.zeros_like(truth)
    found, overlap, chance = start, iou(start, truth), np.random.default_rng(opened.task_id)
    points: tuple[Point, ...] = ()
    clicks: list[Click] = []
    regions: list[Region] = []
    is_stuck = False
    while overlap < TARGET_IOU and len(clicks) < MOST_PROMPTS:
        point = next_click(truth, found, jitter=chance if is_stuck else None)
        modifiers = _on_a_region(point, [found, *(one.mask for one in opened.masks)]) + (not point.positive)
        points = (*points, point)
        answer = opened.prompt(label, points, (width, height))
        # A refusal takes the pending suggestion away.
        after = np.logical_or.reduce([one.mask for one in answer.masks]) if answer.masks else start
        is_stuck = np.array_equal(after, found)
        found, overlap, regions = after, iou(after, truth), answer.regions if answer.masks else []
        clicks.append(Click(overlap, answer.wait_s, modifiers))
    return tuple(clicks), regions


def regions_to_begin_with(
    result: Sequence[Region], meant: Sequence[Meant], left: Sequence[LabelledMask]
) -> list[Region]:
    """Returns a prediction's regions without those that are deleted, and under the labels that they should have.

    All others are exactly as they were shown.
    """
    deleted = {region.region_id for region in left}
    labels = {one.shown.region_id: one.garment.label for one in meant if one.shown is not None and one.is_relabelled}
    return [_relabelled(region, labels) for region in result if region["id"] not in deleted]


def _relabelled(region: Region, labels: Mapping[str | None, str]) -> Region:
    value = region["value"]
    if region["id"] not in labels or "labels" not in value:
        return region
    return {**region, "value": {**value, "labels": [labels[region["id"]]]}}


def _on_a_region(point: Point, masks: Sequence[Mask]) -> bool:
    return any(mask[int(point.y), int(point.x)] for mask in masks)
