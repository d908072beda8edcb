"""Index masks, as in ATR and LIP: one PNG for each image, whose pixels are the numbers of labels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageColor

from backend.errors import DatasetError
from backend.label_studio.label_colours import colour_of
from backend.storage.atomic_files import write_atomically
from backend.telemetry.printable import one_line
from training.data_out.garment_images import GarmentImage
from training.metrics.pixel_metrics import label_map

MAX_LABELS = 255


def write_index_masks(images: Iterable[GarmentImage], labels: Sequence[str], folder: Path, left_out: list[str]) -> int:
    """Writes `masks/`, `images/` and `labels.txt`; returns the number of images.

    0 is the background, k the k-th label; where garments overlap, the later one is on top. The PNGs have a palette, so
    that a person can tell the labels apart.

    Args:
        left_out: gets a sentence for each garment that later ones cover completely.

    Raises:
        DatasetError: there are more labels than one byte can number.
    """
    if len(labels) > MAX_LABELS:
        raise DatasetError(f"An index mask holds at most {MAX_LABELS} labels, but the project has {len(labels)}.")
    numbers = {label: number for number, label in enumerate(labels, start=1)}
    colours = [0, 0, 0, *(part for n in range(len(labels)) for part in ImageColor.getrgb(colour_of(n)))]
    for kind in ("masks", "images"):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    count = 0
    for image in images:
        count += 1
        layers = [(garment.mask, numbers[garment.label]) for garment in image.garments]
        pixels = label_map(layers, size_wh=image.size_wh).astype(np.uint8)
        left_out += [
            f"task {image.task_id}: Region {garment.region_id}: in an index mask, later garments cover it completely."
            for garment, (mask, number) in zip(image.garments, layers, strict=True)
            if not (pixels[mask] == number).any()
        ]
        mask_image = Image.fromarray(pixels).convert("P")
        mask_image.putpalette(colours)
        mask_image.save(folder / "masks" / f"{image.name}.png")
        Image.fromarray(image.pixels).save(folder / "images" / f"{image.name}.jpg", quality=95)
    write_atomically(folder / "labels.txt", "".join(f"{line}\n" for line in ("background", *map(one_line, labels))))
    return count
