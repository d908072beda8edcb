"""Prepares doubts for the report: a sentence, and crops of the approved and the detected garment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backend.domain import LabelledMask, Pixels
from training.report.doubts import Doubt
from training.report.pictures import CROP_SIDE_PX, ReportPicture, cropped, in_words, picture, surroundings


@dataclass(frozen=True)
class DoubtCard:
    """A doubt as the report shows it: `label` is the approved label or, without a region, the detected class."""

    doubt: Doubt
    label: str
    sentence: str
    approved: ReportPicture
    found: ReportPicture


def doubt_card(doubt: Doubt, pixels: Pixels, colours: Mapping[str, str]) -> DoubtCard:
    """Describes a doubt with a sentence and two pictures.

    Args:
        pixels: the image, `uint8 (H, W, 3)`, RGB.
        colours: label → its CSS colour.
    """
    approved = [doubt.region] if doubt.region else []
    detected = (
        [LabelledMask(doubt.detection.mask, doubt.detection.class_name, doubt.detection.region_score)]
        if doubt.detection
        else []
    )
    box = surroundings([garment.mask for garment in (*approved, *detected)])

    def crop(garments: list[LabelledMask], title: str) -> ReportPicture:
        part, inside = cropped(pixels, garments, box)
        return picture(part, inside, colours, alt=f"{title}: {in_words(garments)}", side_px=CROP_SIDE_PX)

    label = (approved or detected)[0].label
    return DoubtCard(doubt, label, _sentence(doubt, label), crop(approved, "Approved"), crop(detected, "Found"))


def _sentence(doubt: Doubt, label: str) -> str:
    iou = f"IoU {doubt.iou:.2f}" if doubt.iou is not None else ""
    match doubt.kind:
        case "missed":
            return f"The model finds '{label}' where there is no region."
        case "wrong class":
            detected_label = doubt.detection.class_name if doubt.detection else ""
            return f"Approved as '{label}'; the model finds '{detected_label}' in the same place ({iou})."
        case "poor border":
            return f"The model finds a different border for '{label}' ({iou})."
        case "spurious":
            return f"The model finds no '{label}' here, although it finds others."
