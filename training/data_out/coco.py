"""COCO instances: one JSON file and the images (Lin et al. 2014; https://cocodataset.org/#format-data)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np

from backend.domain import LabelledMask, Outlining
from backend.regions.mask_runs import coco_rle
from backend.regions.polygons import mask_to_outlines
from backend.storage.atomic_files import write_atomically
from training.data_out.garment_images import GarmentImage
from training.data_out.picture_files import write_picture

Outlines = Literal["rle", "polygons"]
JPEG_QUALITY = 95
DECIMALS = 2


def write_coco(
    images: Iterable[GarmentImage], labels: Sequence[str], folder: Path, *, outlines: Outlines, outlining: Outlining
) -> int:
    """Writes `annotations.json` and `images/`; returns the number of images.

    Args:
        labels: the categories, numbered from 1 in this order.
        outlines: `rle` is exact; `polygons` are as close as `outlining` sets, and represent large holes as slits.
        outlining: every part of a garment gets a polygon, whatever `parts` says: a person approved them all.
    """
    numbers = {label: number for number, label in enumerate(labels, start=1)}
    coco_images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    (folder / "images").mkdir(parents=True, exist_ok=True)
    for image in images:
        width, height = image.size_wh
        file = f"{image.name}.jpg"
        write_picture(folder / "images" / file, image.pixels, [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])
        coco_images.append({"id": image.task_id, "file_name": file, "width": width, "height": height})
        for garment in image.garments:
            segmentation = _runs(garment) if outlines == "rle" else _polygons(garment, outlining)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": image.task_id,
                    "category_id": numbers[garment.label],
                    "segmentation": segmentation,
                    "area": int(np.count_nonzero(garment.mask)),
                    "bbox": [float(value) for value in cv2.boundingRect(garment.mask.view(np.uint8))],
                    "iscrowd": 0,
                    "by": "person" if image.by_person else "model",
                    "score": garment.score,
                }
            )
    categories = [{"id": number, "name": label, "supercategory": "garment"} for label, number in numbers.items()]
    data = {"info": {}, "licenses": [], "images": coco_images, "annotations": annotations, "categories": categories}
    write_atomically(folder / "annotations.json", json.dumps(data, ensure_ascii=False))
    return len(coco_images)


def _runs(garment: LabelledMask) -> dict[str, Any]:
    runs = coco_rle(garment.mask)
    return {"size": [int(side) for side in runs["size"]], "counts": runs["counts"].decode("ascii")}


def _polygons(garment: LabelledMask, outlining: Outlining) -> list[list[float]]:
    every_part = replace(outlining, parts="each")
    return [np.round(outline, DECIMALS).ravel().tolist() for outline in mask_to_outlines(garment.mask, every_part)]
