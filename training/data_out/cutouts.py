"""Cut-outs: every garment as a transparent PNG, and one table of the wardrobe."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import get_type_hints

import cv2
import numpy as np
import polars

from backend.domain import LabelledMask
from training.data_out.colour_names import dominant_colours
from training.data_out.file_names import folder_names
from training.data_out.garment_images import GarmentImage
from training.data_out.picture_files import write_picture

# Standard deviation, in pixels, of the Gaussian that fades a soft edge.
SOFT_EDGE_PX = 1.5


@dataclass(frozen=True)
class Cutout:
    """A row of the table: one garment.

    Attributes:
        garment: its number within the image, from 1, back to front.
        x, y, width, height: the box around its mask, in pixels of the image.
        area_px: number of pixels in its mask.
        colours: names of its dominant colours, the most frequent first, separated by commas.
        hex_colours, colour_shares: the same colours as `#rrggbb`, and their shares of its pixels.
        by: `person`, or `model` where the garment was accepted without a person.
        score: the model's score; None where a person drew the garment.
        made_at: when the annotation was made, ISO 8601; '' if Label Studio reports no time.
        file: path of the cut-out below the folder.
    """

    task: int
    image: str
    garment: int
    label: str
    x: int
    y: int
    width: int
    height: int
    area_px: int
    colours: str
    hex_colours: str
    colour_shares: str
    by: str
    score: float | None
    made_at: str
    file: str


def write_cutouts(
    images: Iterable[GarmentImage], labels: Sequence[str], folder: Path, *, soft_edges: bool
) -> list[Cutout]:
    """Writes `cutouts/<label>/` and the table, `wardrobe.parquet`, `.csv` and `.json`; returns the table's rows.

    A cut-out is as large as its garment's box. All pixels outside the garment, also in its holes, are transparent.

    Args:
        labels: all labels that a garment may have; each gets a folder of its own.
        soft_edges: whether the edge fades over some pixels; if not, it is hard.
    """
    folders = folder_names(labels)
    cutouts = [
        _write(image, number, garment, folder, below=folders[garment.label], soft_edges=soft_edges)
        for image in images
        for number, garment in enumerate(image.garments, start=1)
    ]
    folder.mkdir(parents=True, exist_ok=True)
    table = polars.DataFrame([asdict(cutout) for cutout in cutouts], schema=get_type_hints(Cutout))
    table.write_parquet(folder / "wardrobe.parquet")
    _escape_formulas(table).write_csv(folder / "wardrobe.csv")
    table.write_json(folder / "wardrobe.json")
    return cutouts


def _write(
    image: GarmentImage, number: int, garment: LabelledMask, folder: Path, *, below: str, soft_edges: bool
) -> Cutout:
    """Writes the garment's cut-out into `cutouts/<below>/`."""
    x, y, width, height = cv2.boundingRect(garment.mask.view(np.uint8))
    mask = garment.mask[y : y + height, x : x + width]
    pixels = image.pixels[y : y + height, x : x + width]
    alpha = mask.astype(np.uint8) * 255
    if soft_edges:
        # The edge fades only inwards, so that nothing beside the garment shows.
        alpha = np.minimum(alpha, cv2.GaussianBlur(alpha, (0, 0), SOFT_EDGE_PX, borderType=cv2.BORDER_REPLICATE))
    file = Path("cutouts") / below / f"{image.name}_{number}.png"
    # Transparent pixels lose their colour: otherwise the file would still contain it.
    rgba = np.dstack([pixels * mask[..., None], alpha])
    write_picture(folder / file, rgba)
    colours = dominant_colours(pixels[mask])
    return Cutout(
        image.task_id,
        image.name,
        number,
        garment.label,
        x,
        y,
        width,
        height,
        int(np.count_nonzero(mask)),
        ",".join(colour.name for colour in colours),
        ",".join(colour.hex for colour in colours),
        ",".join(f"{colour.share:.2f}" for colour in colours),
        "person" if image.by_person else "model",
        garment.score,
        image.made_at,
        file.as_posix(),
    )


def _escape_formulas(table: polars.DataFrame) -> polars.DataFrame:
    """Returns the table with an apostrophe before texts that a spreadsheet would compute, such as `=1+1`."""
    text = polars.col(polars.String)
    return table.with_columns(text.str.replace(r"^([=+\-@\t\r])", "'$1"))
