"""A wardrobe of drawn figures, with names that people could choose to do harm."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

from backend.domain import LabelledMask
from label_studio_config.demo.figures import draw_figure
from training.data_out.garment_images import GarmentImage
from training.data_out.wardrobe.make import write_wardrobe

TASKS_URL = "https://studio.example/projects/7/data?task="
HOSTILE = "</script><img src=x onerror=\"document.title='owned'\">&amp;'"


def figure(seed: int) -> GarmentImage:
    """The figure of this number as an exported image of the task of this number."""
    shown = draw_figure(seed)
    garments = tuple(LabelledMask(one.mask, one.label) for one in shown.instances)
    return GarmentImage(seed, f"{seed}_figure", shown.pixels, garments, True, "2026-11-30T07:12:00Z")


def images() -> list[GarmentImage]:
    """Figures; an image without a garment; a garment whose label is HTML; a model's garment."""
    mask = np.zeros((60, 90), bool)
    mask[10:50, 20:70] = True
    red = np.full((60, 90, 3), (200, 20, 20), np.uint8)
    hostile = GarmentImage(900, "900_<b>साड़ी &amp; #1?", red, (LabelledMask(mask, HOSTILE),), True)
    by_model = replace(figure(1), task_id=901, name="901_model", by_person=False)
    scored = tuple(replace(garment, score=0.87) for garment in by_model.garments)
    empty = GarmentImage(902, "902_empty", red, (), True)
    return [*(figure(seed) for seed in range(1, 9)), hostile, replace(by_model, garments=scored), empty]


def labels_of(shown: list[GarmentImage]) -> list[str]:
    return sorted({garment.label for image in shown for garment in image.garments})


def small_images(count: int) -> list[GarmentImage]:
    """So many images of few pixels, with a garment each."""
    mask = np.zeros((12, 9), bool)
    mask[2:10, 2:7] = True
    colours = np.random.default_rng(1).integers(0, 256, (count, 3), np.uint8)
    return [
        GarmentImage(number, f"{number}_small", np.full((12, 9, 3), colour), (LabelledMask(mask, "top"),), True)
        for number, colour in enumerate(colours, start=1)
    ]


def write_drawn_wardrobe(folder: Path, shown: list[GarmentImage]) -> None:
    write_wardrobe(shown, labels_of(shown), folder, title=HOSTILE, tasks_url=TASKS_URL, soft_edges=True)
