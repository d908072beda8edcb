"""Makes a training example from an approved annotation, a picture and YOLO outlines, and caches it."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from pydantic import TypeAdapter

from backend.domain import Image, LabelledMask, Pixels
from backend.label_studio.label_config import LabelConfig
from backend.regions.content_hash import content_hash
from backend.regions.polygons import joined_outline
from backend.storage.atomic_files import write_atomically
from training.annotations.approvals import Approved
from training.annotations.truth import label_facts, truth_of
from training.dataset.perceptual_hashes import perceptual_hashes
from training.dataset.sampling import disagreement

logger = logging.getLogger(__name__)

OUTLINE_TOLERANCE_PX = 1.0
JPEG_QUALITY = 95
# Part of the cache key: increase it when examples are made differently, so that cached ones are dropped.
RELEASE = 3


@dataclass(frozen=True)
class Example:
    """The training example of one annotation.

    Attributes:
        image_key: SHA-256 of the image file's bytes, 64 hex digits; also names the picture.
        hashes: see `perceptual_hashes`.
        labels: the label of each garment.
        outlines: the outline of each garment as YOLO's label files have it: x y x y …, shares of width and height.
        disagreed: see `sampling.disagreement`; None if no prediction was shown.
        problems: a sentence for each region that could not be used.
        is_partial: see `Truth`.
    """

    image_key: str
    hashes: tuple[str, ...]
    labels: tuple[str, ...]
    outlines: tuple[str, ...]
    disagreed: float | None
    problems: tuple[str, ...]
    is_partial: bool

    @property
    def is_usable(self) -> bool:
        """Whether it shows all garments that the annotation names, or certainly none: no region was unusable."""
        return not self.is_partial and (bool(self.labels) or not self.problems)

    def lines(self, classes: tuple[str, ...]) -> str:
        """Returns the text of its label file; empty if there is no garment."""
        rows = zip(self.labels, self.outlines, strict=True)
        return "".join(f"{classes.index(label)} {outline}\n" for label, outline in rows)


_JSON = TypeAdapter(Example)


class ExampleCache:
    """The cached examples of one project, in a folder of their own."""

    def __init__(self, folder: Path, config: LabelConfig, *, image_size_px: int) -> None:
        self._folder = folder
        self._config = config
        self._image_size_px = image_size_px
        self._used: set[Path] = set()
        self._config_facts = label_facts(config)

    def get(self, annotation: Approved, load: Callable[[Approved], Image]) -> Example:
        """Returns the annotation's example, from the cache if the annotation has not changed.

        Raises:
            ImageError, LabelStudioError: raised by `load`, which is called only without a cached example, and returns
                the image with its longer side at most the training size.
        """
        path = self._folder / f"{self._name(annotation)}.json"
        example = _read(path)
        if example is None or not self.picture(example).is_file():
            example = self._make(annotation, load(annotation))
            write_atomically(path, json.dumps(asdict(example)))
        self._used |= {path, self.picture(example)}
        return example

    def picture(self, example: Example) -> Path:
        """Returns the path of the example's JPEG file."""
        return self._folder / f"{example.image_key}-{self._image_size_px}.jpg"

    def label_file(self, example: Example, classes: tuple[str, ...], *, lines_sha256: str) -> Path:
        """Returns the path of a file of the example's lines, named by their hash; writes it unless it is there."""
        path = self._folder / f"{lines_sha256}.txt"
        # A crash of the machine may have left it empty.
        if not path.is_file() or (example.labels and not path.stat().st_size):
            write_atomically(path, example.lines(classes))
        self._used.add(path)
        return path

    def remove_unused(self) -> None:
        """Deletes cached files that were not asked for."""
        for path in self._folder.iterdir():
            if path not in self._used:
                path.unlink(missing_ok=True)

    def _name(self, annotation: Approved) -> str:
        facts = [
            RELEASE,
            annotation.content_hash,
            annotation.data,
            annotation.shown_hash
            if annotation.shown_hash or annotation.shown is None
            else content_hash(annotation.shown),
            *self._config_facts,
            self._image_size_px,
        ]
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]

    def _make(self, annotation: Approved, image: Image) -> Example:
        truth = truth_of(annotation.result, self._config)
        shown_garments = truth_of(annotation.shown, self._config).garments if annotation.shown is not None else None
        example = Example(
            image_key=image.key,
            hashes=perceptual_hashes(image.pixels),
            labels=tuple(garment.label for garment in truth.garments),
            outlines=tuple(outline_text(garment) for garment in truth.garments),
            disagreed=None if shown_garments is None else round(disagreement(shown_garments, truth.garments), 4),
            problems=truth.problems,
            is_partial=truth.is_partial,
        )
        if not self.picture(example).is_file():
            write_atomically(self.picture(example), encode_jpeg(image.pixels))
        return example


def outline_text(garment: LabelledMask) -> str:
    """Returns the outline of a garment, whose mask is not empty, as `Example.outlines` has it."""
    height, width = garment.mask.shape
    outline = joined_outline(garment.mask, tolerance_px=OUTLINE_TOLERANCE_PX) / (width, height)
    return " ".join(f"{value:.6f}" for value in np.clip(outline, 0, 1).ravel())


def encode_jpeg(pixels: Pixels) -> bytes:
    """Returns a picture `uint8 (H, W, 3)`, RGB, as a training example's file."""
    return cv2.imencode(".jpg", pixels[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY])[1].tobytes()


def _read(path: Path) -> Example | None:
    try:
        return _JSON.validate_python(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as e:
        logger.warning("%s cannot be read and is made again: %s", path.name, e)
        return None
