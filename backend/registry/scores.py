"""A version's metrics on held-out images, per label: `training.evaluation.score` computes, this module stores them."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pydantic import TypeAdapter

from backend.registry.records import read_record, write_facts
from backend.registry.registry import Version

FILE = "scores.json"


@dataclass(frozen=True)
class LabelScores:
    """One label's metrics, in `[0, 1]`; None for an undefined metric, for example if no held-out image shows the label.

    Attributes:
        instances: number of garments of the label in the held-out images.
        box_map, mask_map: average precision over IoU from 0.5 to 0.95, of the boxes around masks and of masks.
        box_map50, mask_map50: average precision at an IoU of 0.5.
        precision: share of the detections that are right; None without detections.
        recall: share of the garments that are detected.
        iou, accuracy, dice: pixel metrics: intersection over union, share of the label's pixels that are found, Dice.
        boundary_iou: IoU of the pixels near the border alone.
    """

    label: str
    instances: int
    box_map: float | None
    box_map50: float | None
    mask_map: float | None
    mask_map50: float | None
    precision: float | None
    recall: float | None
    iou: float | None
    accuracy: float | None
    dice: float | None
    boundary_iou: float | None


@dataclass(frozen=True)
class Scores:
    """A model's metrics on held-out images, in `[0, 1]`: means over the labels with a value; None if no label has one.

    `miou`, `mean_accuracy` and `dice` count the background as an additional label, as papers on garment parsing do.
    `LabelScores` describes each metric.

    Attributes:
        overall_accuracy: share of all pixels that have the right label or are rightly background.
        ms_an_image: milliseconds of detection per image, many images in a row; None if it was not measured.
        labels: all labels of the project, in the label config's order.
    """

    images: int
    box_map: float | None
    box_map50: float | None
    mask_map: float | None
    mask_map50: float | None
    precision: float | None
    recall: float | None
    miou: float | None
    mean_accuracy: float | None
    dice: float | None
    boundary_iou: float | None
    overall_accuracy: float | None
    ms_an_image: float | None
    labels: tuple[LabelScores, ...]


@dataclass(frozen=True)
class Compared:
    """A version's own metrics, and those of the champion that it was compared with, on the same images.

    Attributes:
        champion: None if there was no champion, or if it did not load.
    """

    own: Scores
    champion: Scores | None


_JSON = TypeAdapter(Compared)


def write_scores(version: Version, compared: Compared) -> None:
    """Stores the metrics with the version, whole or not at all."""
    write_facts(version, FILE, asdict(compared))


def read_scores(version: Version) -> Compared | None:
    """Returns the metrics that are stored with the version; None if it was never evaluated."""
    return read_record(version, FILE, _JSON)
