"""Prepares doubts for the report: a sentence, and crops of the approved and the detected garment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backend.domain import LabelledMask, Pixels
from training.report.doubts import Doubt
from training.report.pictures import CROP_SIDE_PX, ReportPicture, cropped, in_words, picture, surroundings


@dataclass(frozen=True)
class Told:
    """A doubt as the report shows it: `label` is the approved label or, without a region, the detected class."""

    doubt: Doubt
    label: str
    sentence: str
    approved: ReportPicture
    found: ReportPicture


def told(doubt: Doubt, pixels: Pixels, colours: Mapping[str, str]) -> Told:
    """Describes a doubt with a sentence and two pictures.

    Args:
        pixels: the image, `uint8 (H, W, 3)`, RGB.
        colours: label → its CSS colour.
    """
    approved = [doubt.region] if doubt.region else []
    found = [LabelledMask(doubt.find.mask, doubt.find.class_name, doubt.find.region_score)] if doubt.find else []
    around = surroundings([garment.mask for garment in (*approved, *found)])

    def crop(garments: list[LabelledMask], said: str) -> ReportPicture:
        part, inside = cropped(pixels, garments, around)
        return picture(part, inside, colours, alt=f"{said}: {in_words(garments)}", side_px=CROP_SIDE_PX)

    label = (approved or found)[0].label
    return Told(doubt, label, _sentence(doubt, label), crop(approved, "Approved"), crop(found, "Found"))


def _sentence(doubt: Doubt, label: str) -> str:
    iou = f"IoU {doubt.iou:.2f}" if doubt.iou is not None else ""
    match doubt.kind:
        case "missed":
            return f"The model sees '{label}' where no region is."
        case "wrong class":
            other = doubt.find.class_name if doubt.find else ""
            return f"Approved as '{label}'; the model sees '{other}' in the same place ({iou})."
        case "poor border":
            return f"The model draws '{label}' with another border ({iou})."
        case "spurious":
            return f"The model sees nothing here that could be '{label}', which it finds elsewhere."
