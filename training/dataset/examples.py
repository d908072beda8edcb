"""One approved annotation made ready for training: a picture and YOLO's outlines; kept, so that it is made once."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import imagehash
import numpy as np
from PIL import Image as PillowImage
from pydantic import TypeAdapter

from backend.domain import Image, LabelledMask, Pixels
from backend.label_studio.label_config import LabelConfig
from backend.regions.polygons import joined_outline
from backend.storage.atomic_files import write_whole
from training.annotations.approvals import Approved
from training.annotations.truth import label_facts, truth_of
from training.dataset.sampling import disagreement

logger = logging.getLogger(__name__)

OUTLINE_TOLERANCE_PX = 1.0
JPEG_QUALITY = 95
# Goes up when the same annotation is to be made otherwise.
RELEASE = 1


@dataclass(frozen=True)
class Example:
    """What is trained on of one annotation.

    Attributes:
        image_key: SHA-256 of the image file's bytes, 64 hex digits; also names the picture.
        phash: the image's perceptual hash, 16 hex digits.
        labels: one a garment.
        outlines: for each of them x and y by turns, shares of width and height in `[0, 1]`, as YOLO's labels have them.
        disagreed: see `sampling.disagreement`; None where nobody was shown a prediction.
        problems: a sentence for each region that could not be used.
    """

    image_key: str
    phash: str
    labels: tuple[str, ...]
    outlines: tuple[str, ...]
    disagreed: float | None
    problems: tuple[str, ...]

    @property
    def is_usable(self) -> bool:
        """Whether it shows garments, or surely none."""
        return bool(self.labels) or not self.problems

    def lines(self, classes: tuple[str, ...]) -> str:
        """The text of its label file; empty where there is no garment."""
        rows = zip(self.labels, self.outlines, strict=True)
        return "".join(f"{classes.index(label)} {outline}\n" for label, outline in rows)


_JSON = TypeAdapter(Example)


class Examples:
    """The examples of one project that were made already, in a folder of their own."""

    def __init__(self, folder: Path, config: LabelConfig, *, image_size_px: int) -> None:
        self._folder = folder
        self._config = config
        self._image_size_px = image_size_px
        self._used: set[Path] = set()

    def make(self, one: Approved, load: Callable[[Approved], Image]) -> Example:
        """The example, from what is kept where the annotation is as it was.

        Raises:
            ImageError, LabelStudioError: as `load`, which gives the image, its longer side no more than it is trained
                at: only what is new is loaded.
        """
        path = self._folder / f"{self._name(one)}.json"
        example = _read(path)
        if example is None or not self.picture(example).is_file():
            example = self._make(one, load(one))
            write_whole(path, json.dumps(asdict(example)))
        self._used |= {path, self.picture(example)}
        return example

    def picture(self, example: Example) -> Path:
        """Its JPEG file."""
        return self._folder / f"{example.image_key}-{self._image_size_px}.jpg"

    def forget_the_rest(self) -> None:
        """Deletes what is kept of annotations that were not asked for."""
        for path in self._folder.iterdir():
            if path not in self._used:
                path.unlink(missing_ok=True)

    def _name(self, one: Approved) -> str:
        of_config = label_facts(self._config)
        shown = [RELEASE, one.content_hash, one.data, one.shown, *of_config, self._image_size_px]
        return hashlib.sha256(json.dumps(shown, sort_keys=True).encode()).hexdigest()[:32]

    def _make(self, one: Approved, image: Image) -> Example:
        truth = truth_of(one.result, self._config)
        shown = truth_of(one.shown, self._config).garments if one.shown is not None else None
        example = Example(
            image_key=image.key,
            phash=str(imagehash.phash(PillowImage.fromarray(image.pixels))),
            labels=tuple(garment.label for garment in truth.garments),
            outlines=tuple(_outline(garment) for garment in truth.garments),
            disagreed=None if shown is None else round(disagreement(shown, truth.garments), 4),
            problems=truth.problems,
        )
        if not self.picture(example).is_file():
            write_whole(self.picture(example), _jpeg(image.pixels))
        return example


def _outline(garment: LabelledMask) -> str:
    height, width = garment.mask.shape
    outline = joined_outline(garment.mask, tolerance_px=OUTLINE_TOLERANCE_PX) / (width, height)
    return " ".join(f"{value:.6f}" for value in np.clip(outline, 0, 1).ravel())


def _jpeg(pixels: Pixels) -> bytes:
    return cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def _read(path: Path) -> Example | None:
    try:
        return _JSON.validate_python(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as e:
        logger.warning("%s cannot be read, and is made again: %s", path.name, e)
        return None
