"""Simulated annotators at a real Label Studio: they take what it serves next, correct what is shown there, and submit.

The truth is known, as the figures are drawn. What each correction costs is assumed: see `Costs`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

from backend.domain import LabelledMask, Outlining
from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import LabelConfig
from backend.regions.decode import decode
from backend.regions.encode import encode
from benchmarks.flywheel.vocabulary import truth_renamed
from training.metrics.interactive import iou

# From here on an annotator leaves a border as it is; from there on its garment is still the one that was meant.
KEPT_IOU, MEANT_IOU = 0.9, 0.5


@dataclass(frozen=True)
class Effort:
    """What something takes: clicks, and seconds."""

    clicks: float
    seconds: float

    def __add__(self, other: Effort) -> Effort:
        return Effort(self.clicks + other.clicks, self.seconds + other.seconds)

    def __mul__(self, times: int) -> Effort:
        return Effort(self.clicks * times, self.seconds * times)


@dataclass(frozen=True)
class Costs:
    """What each thing that an annotator does is assumed to take.

    A polygon by hand takes 60 s and some 50 points, a SAM prompt 5 s, and a glance at an image that is right under 3 s:
    figures of the annotation of sarees that this project builds on. The rest is by the keystroke-level model (Card,
    Moran and Newell 1980): pointing 1.1 s, a button pressed and released 0.2 s, a key 0.2 s, a hand that moves between
    mouse and keys 0.4 s.

    Attributes:
        look: to look at an image, right or not, and to submit it.
        by_hand: a garment, point by point.
        prompt: a garment by SAM, whether none was shown or its border was wrong: its label, and a click.
        relabel: another label for a region: point, press, move, key.
        delete: a region that shows no garment: point, press, key.
    """

    look: Effort = Effort(1, 2.0)
    by_hand: Effort = Effort(50, 60.0)
    prompt: Effort = Effort(2, 5.0)
    relabel: Effort = Effort(1, 2.0)
    delete: Effort = Effort(1, 1.5)


COSTS = Costs()


@dataclass(frozen=True)
class Correction:
    """What an annotator does to one image.

    Attributes:
        kept: shown regions that stay as they are.
        relabelled: shown regions under the label that they should have had.
        redrawn: garments of which a shown region had the label, but not the border.
        drawn: garments of which no region was shown.
        deleted: shown regions of none of those.
    """

    kept: tuple[LabelledMask, ...]
    relabelled: tuple[LabelledMask, ...]
    redrawn: tuple[LabelledMask, ...]
    drawn: tuple[LabelledMask, ...]
    deleted: tuple[LabelledMask, ...]

    @property
    def shown(self) -> int:
        """How many regions were shown."""
        return sum(map(len, (self.kept, self.relabelled, self.redrawn, self.deleted)))

    @property
    def garments(self) -> int:
        """How many garments are in the image."""
        return sum(map(len, (self.kept, self.relabelled, self.redrawn, self.drawn)))

    def effort(self, costs: Costs = COSTS) -> Effort:
        """What it takes."""
        return (
            costs.look
            + costs.relabel * len(self.relabelled)
            + costs.prompt * (len(self.redrawn) + len(self.drawn))
            + costs.delete * len(self.deleted)
        )

    def by_hand(self, costs: Costs = COSTS) -> Effort:
        """What the image takes without any model."""
        return costs.look + costs.by_hand * self.garments

    def sam_alone(self, costs: Costs = COSTS) -> Effort:
        """What it takes with SAM at hand, and nothing shown."""
        return costs.look + costs.prompt * self.garments


def correct(shown: Sequence[LabelledMask], truth: Sequence[LabelledMask]) -> Correction:
    """The cheapest way from what is shown to what is there; each region is used for one garment at most.

    A region whose label and border are both wrong is deleted: relabelled and prompted it would take longer.

    Args:
        shown: masks of the truth's size.
    """
    kept, relabelled, redrawn = [], [], []
    left, waiting = dict(enumerate(shown)), dict(enumerate(truth))
    for _, _, index, garment in sorted(_pairs(shown, truth)):
        if index not in left or garment not in waiting:
            continue
        region, meant = left.pop(index), waiting.pop(garment)
        overlap = iou(region.mask, meant.mask)
        if region.label != meant.label:
            relabelled.append(LabelledMask(region.mask, meant.label, region_id=region.region_id))
        elif overlap >= KEPT_IOU:
            kept.append(region)
        else:
            redrawn.append(meant)
    return Correction(
        tuple(kept), tuple(relabelled), tuple(redrawn), drawn=tuple(waiting.values()), deleted=tuple(left.values())
    )


def _pairs(shown: Sequence[LabelledMask], truth: Sequence[LabelledMask]) -> Iterator[tuple[float, float, int, int]]:
    """Regions and garments that can become one another: seconds that takes, distance, and the numbers of both."""
    for index, region in enumerate(shown):
        for garment, meant in enumerate(truth):
            overlap, alike = iou(region.mask, meant.mask), region.label == meant.label
            if overlap >= KEPT_IOU:
                yield (0.0 if alike else COSTS.relabel.seconds), 1 - overlap, index, garment
            elif alike and overlap >= MEANT_IOU:
                yield COSTS.prompt.seconds, 1 - overlap, index, garment


def annotation_regions(
    result: Sequence[Mapping[str, Any]], correction: Correction, config: LabelConfig, outlining: Outlining
) -> list[dict[str, Any]]:
    """What the annotation holds: kept regions exactly as they were shown, since nobody touched them; else the truth.

    Args:
        result: the shown prediction's regions, as Label Studio gives them.
    """
    labels = {region.region_id: region.label for region in (*correction.kept, *correction.relabelled)}
    regions = [_relabelled(region, labels[region["id"]]) for region in result if region.get("id") in labels]
    for garment in (*correction.redrawn, *correction.drawn):
        regions += encode(garment, config, outlining=outlining, model_version="annotator")
    return regions


def _relabelled(region: Mapping[str, Any], label: str) -> dict[str, Any]:
    value = region["value"]
    return {**region, "value": {**value, "labels": [label]} if "labels" in value else value}


@dataclass(frozen=True)
class Annotators:
    """People who work on one project.

    Attributes:
        seeds: task id → seed of its figure.
    """

    label_studio: LabelStudio
    url: str
    project_id: int
    config: LabelConfig
    outlining: Outlining
    seeds: Mapping[int, int]

    def label(self, images: int) -> Iterator[Correction]:
        """Labels as many images as Label Studio serves them; what was done to each, once it is submitted."""
        for _ in range(images):
            task = self._next_task()
            # Label Studio opens the latest one.
            prediction = max(task["predictions"], key=lambda prediction: int(prediction["id"]), default=None)
            result = prediction["result"] if prediction else []
            correction = correct(decode(result)[0], truth_renamed(self.seeds[int(task["id"])]))
            self._submit(int(task["id"]), result, correction, parent=prediction and int(prediction["id"]))
            yield correction

    def _next_task(self) -> dict[str, Any]:
        """What *Label all tasks* gives next, with the prediction that it shows."""
        with self.label_studio.api():
            answer = httpx.post(
                f"{self.url}/api/dm/actions",
                params={"id": "next_task", "project": self.project_id},
                headers={"Authorization": self.label_studio.bearer()},
                timeout=60,
            )
            task: dict[str, Any] = answer.raise_for_status().json()
        return task

    def _submit(
        self, task_id: int, result: Sequence[Mapping[str, Any]], correction: Correction, *, parent: int | None
    ) -> None:
        with self.label_studio.api() as sdk:
            sdk.annotations.create(
                task_id,
                result=annotation_regions(result, correction, self.config, self.outlining),
                lead_time=correction.effort().seconds,
                **({"parent_prediction": parent} if parent else {}),
            )
