"""A project's images with the garments in them: the input of all formats but YOLO."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from urllib.parse import unquote

from backend.domain import LabelledMask, Pixels
from backend.errors import ImageError
from backend.images.fetch import ImageStore
from backend.images.task_image import image_url, load_image
from backend.label_studio.data_url import is_data_url
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.payloads import Task
from backend.regions.mask_size import resize_mask
from training.annotations.approvals import Approved
from training.annotations.truth import truth_of
from training.data_out.file_names import file_name


@dataclass(frozen=True)
class GarmentImage:
    """An image and its garments.

    Attributes:
        name: the task's number, then the file's name without folder and extension; unique.
        pixels: `uint8 (H, W, 3)`, RGB, upright, at the image's own size.
        garments: in drawing order, back to front; masks `bool (H, W)`.
        by_person: False where the service accepted the garments without a person.
        made_at: when the annotation was made, ISO 8601; '' if Label Studio reports no time.
    """

    task_id: int
    name: str
    pixels: Pixels
    garments: tuple[LabelledMask, ...]
    by_person: bool
    made_at: str = ""

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


def garment_images(
    approved: Iterable[Approved], config: LabelConfig, images: ImageStore, left_out: list[str]
) -> Iterator[GarmentImage]:
    """Yields one image at a time, however many there are, without those that cannot be read.

    An image all of whose regions are left out is left out too: without them it would say that it shows no garment.

    Args:
        left_out: gets a sentence for each region and image that is left out.

    Raises:
        LabelStudioError: Label Studio, which stores the images, does not answer.
    """
    for annotation in approved:
        task = Task(id=annotation.task_id, data=annotation.data)
        try:
            image = load_image(images, task, config)
            name = f"{annotation.task_id}_{_file_name(image_url(task, config))}"
        except ImageError as e:
            left_out.append(f"{annotation.place}: {e}")
            continue
        truth = truth_of(annotation.result, config)
        garments = [replace(garment, mask=resize_mask(garment.mask, image.size_wh)) for garment in truth.garments]
        problems = [*truth.problems, *(_too_small(garment) for garment in garments if not garment.mask.any())]
        garments = [garment for garment in garments if garment.mask.any()]
        left_out += [f"{annotation.place}: {problem}" for problem in problems]
        if problems and not garments:
            left_out.append(f"{annotation.place}: the image is left out, as all its regions are.")
            continue
        yield GarmentImage(
            annotation.task_id, name, image.pixels, tuple(garments), annotation.by_person, annotation.made_at
        )


def _too_small(garment: LabelledMask) -> str:
    return f"Region {garment.region_id}: it covers no pixel at the image's own size."


def _file_name(url: str) -> str:
    if is_data_url(url):
        return "image"
    # Handles `/data/local-files/?d=folder/image.jpg` as well as `https://host/image.jpg?signature=…`.
    path = url.split("?d=", 1)[-1].split("?", 1)[0]
    return file_name(PurePosixPath(unquote(path)).stem, otherwise="image")
