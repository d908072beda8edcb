"""How good a model is on held-out images, label by label. `training.evaluation.score` finds it; here it is kept."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from pydantic import TypeAdapter

from backend.registry.records import read_record, write_facts
from backend.registry.registry import Version

FILE = "scores.json"


@dataclass(frozen=True)
class LabelScores:
    """One label's figures, in `[0, 1]`; None where nothing defines one, as where no held-out image shows the label.

    Attributes:
        instances: how many garments of the label the held-out images show.
        box_map, mask_map: average precision over IoU from 0.5 to 0.95, of the boxes around masks and of masks.
        box_map50, mask_map50: average precision at an IoU of 0.5.
        precision: share of the finds that are right; None where there are none.
        recall: share of the garments that are found.
        iou, accuracy, dice: of pixels: intersection over union, share of the label's pixels that are found, and Dice.
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
    """A model's figures on held-out images, in `[0, 1]`: means over the labels that have them; None where none has.

    `miou`, `mean_accuracy` and `dice` count the background as one label more, as papers on garment parsing do. What
    each figure is, `LabelScores` says.

    Attributes:
        overall_accuracy: share of all pixels that have the right label or are rightly background.
        ms_an_image: time of detection, when many images are detected in a row; None where there was no image.
        labels: all of the project's, in the label config's order.
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
    """A version's own scores, and those of the champion it was compared with, on the same images.

    Attributes:
        champion: None where there was none, or it did not load.
    """

    own: Scores
    champion: Scores | None


_JSON = TypeAdapter(Compared)


def write_scores(version: Version, compared: Compared) -> None:
    """Keeps them with the version, whole or not at all."""
    write_facts(version, FILE, asdict(compared))


def read_scores(version: Version) -> Compared | None:
    """What is kept with the version; None where it was never scored."""
    return read_record(version, FILE, _JSON)
