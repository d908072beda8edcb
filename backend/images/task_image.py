"""A task's image: its address under the label config's data key, and the image itself."""

from __future__ import annotations

from backend.domain import Image, Photo
from backend.errors import ImageError
from backend.images.fetch import ImageStore
from backend.label_studio.data_keys import image_in
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.payloads import Task


def image_url(task: Task, config: LabelConfig) -> str:
    """The address of the task's image, under the label config's data key.

    Raises:
        ImageError: the task's data lack the key, or hold no text or several addresses under it.
    """
    url = image_in(task.data, config.image_key)
    if isinstance(url, list) and url:
        raise ImageError(
            f"Task {task.id} has {len(url)} images under the key '{config.image_key}': Label Studio does not store "
            "which of them a region is drawn on. Give each image a task of its own."
        )
    if not isinstance(url, str) or not url:
        raise ImageError(f"Task {task.id} has no image under the key '{config.image_key}' that the label config names.")
    return url


def open_image(images: ImageStore, task: Task, config: LabelConfig) -> Photo:
    """The task's image; if it was read before, it is not fetched again until its pixels are used.

    Raises:
        ImageError, LabelStudioError: as `load_image`, for an image that was not read before.
    """
    return images.open(image_url(task, config), task_id=task.id)


def load_image(images: ImageStore, task: Task, config: LabelConfig, *, side_px: int | None = None) -> Image:
    """The task's decoded image, its longer side at most `side_px` if that is given.

    Raises:
        ImageError: it is missing, refused, over a limit or not an image.
        LabelStudioError: Label Studio, which serves it, is unreachable or refuses the credentials.
    """
    url = image_url(task, config)
    if side_px is not None:
        return images.load_reduced(url, task_id=task.id, side_px=side_px)
    return images.load(url, task_id=task.id)
