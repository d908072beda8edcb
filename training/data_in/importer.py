"""Turns the images of a set, one after another, into tasks with regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from backend.domain import LabelledMask, Outlining
from backend.errors import ImageError, LabelStudioError
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.uploads import UPLOADABLE
from backend.regions.encode import encode, encode_outlines
from backend.regions.polygons import outline_to_mask
from training.data_in.annotated_image import AnnotatedImage, Garment
from training.data_in.class_mapping import Mapping
from training.data_in.mask_cleaning import Cleaning, cleaned
from training.data_in.picture_folder import SetPicture
from training.data_in.project_tasks import Arrival, As, ProjectTasks
from training.data_in.tally import Tally

# How many images are written together, and how many bytes they and their regions may take until then. Label Studio
# goes through the whole project with each request, so few large requests are quicker.
AT_ONCE, MOST_BYTES = 100, 32_000_000
NUMBER_BYTES = 8
# A mask that is imported and exported again stays the same within a pixel, and no part of it is dropped as a speck.
OUTLINING = Outlining(tolerance_px=0.8, parts="each", speck_percent=0.0)
# Proportions may differ by this much for the same image, because sizes are rounded to whole pixels.
SHAPE_TOLERANCE = 0.01

NOT_THERE = "image that is not there"
NOT_TAKEN = "image of a kind that Label Studio does not take"
UNREADABLE = "image that cannot be read"
OTHER_SHAPE = "annotation of other proportions than its image (turned by EXIF?)"
TOO_SMALL = "garment of no pixel, or below the least area"
TWICE = "image that the set names again"


@dataclass(frozen=True)
class Manner:
    """How garments are imported.

    Attributes:
        kind: as approved annotations, or as predictions to review.
        ground_truth: whether annotations are starred.
        version: the origin that is recorded in the regions, and the model version of predictions.
        dry_run: whether nothing is written.
    """

    kind: As
    ground_truth: bool
    cleaning: Cleaning
    version: str
    dry_run: bool


class Arriving:
    """Collects images, and writes them in batches."""

    def __init__(self, tasks: ProjectTasks, config: LabelConfig, mapping: Mapping, manner: Manner) -> None:
        self.tally = Tally()
        self._tasks, self._config, self._mapping, self._manner = tasks, config, mapping, manner
        self._waiting = tasks.waiting(manner.version) if manner.kind == "predictions" else None
        self._seen: set[str | int] = set()
        self._together: list[Arrival] = []
        self._bytes = 0

    def take(self, image: AnnotatedImage) -> None:
        """Imports an image, unless it has a task already that stays as it is.

        Raises:
            LabelStudioError: Label Studio does not answer, or refuses; the message says how many images came in.
        """
        picture, problem = image.picture, _problem(image.picture)
        if problem:
            self.tally.note([problem], picture.name)
            return
        task_id = self._tasks.find(picture)
        known = picture.name if task_id is None else task_id
        if known in self._seen:
            self.tally.note([TWICE], picture.name)
            return
        self._seen.add(known)
        if task_id is not None and not self._is_open(task_id):
            self.tally.left += 1
            return
        try:
            result = self._regions(image)
        except ImageError:
            self.tally.note([UNREADABLE], picture.name)
            return
        if task_id is not None and not result:
            self.tally.left += 1
            return
        self.tally.note(image.notes, picture.name)
        self._together.append(Arrival(picture, result, task_id))
        self._bytes += len(picture.encoded or b"") + _bytes(result)
        if len(self._together) >= AT_ONCE or self._bytes >= MOST_BYTES:
            self.write()

    def write(self) -> None:
        """Writes the collected images.

        Raises:
            LabelStudioError: as in `take`.
        """
        some, self._together, self._bytes = self._together, [], 0
        manner = self._manner
        if not manner.dry_run:
            try:
                self._tasks.write(some, kind=manner.kind, version=manner.version, ground_truth=manner.ground_truth)
            except LabelStudioError as e:
                came = self.tally.new + self.tally.present
                raise type(e)(f"{e} {came} images came in; the same command goes on from there.") from e
        self.tally.new += sum(arrival.task_id is None for arrival in some)
        self.tally.present += sum(arrival.task_id is not None for arrival in some)

    def _is_open(self, task_id: int) -> bool:
        """Whether a task may get regions: it has no annotation, nor, where predictions come in, any from this set."""
        return task_id in self._waiting if self._waiting is not None else not self._tasks.is_annotated(task_id)

    def _regions(self, image: AnnotatedImage) -> list[dict[str, Any]]:
        """Returns the regions of an image's garments, and counts the garments.

        Raises:
            ImageError: the image cannot be read.
        """
        original_wh = image.picture.size_wh() or image.size_wh
        frame_wh = image.size_wh or original_wh
        if original_wh is None or frame_wh is None:
            return []
        if not _is_alike(frame_wh, original_wh):
            if image.garments:
                self.tally.note([OTHER_SHAPE], image.picture.name)
            return []
        result: list[dict[str, Any]] = []
        named = [(garment, self._mapping.label_for(garment.name)) for garment in image.garments]
        labels = {garment.name: label for garment, label in named if label is not None}
        self.tally.unmapped.update(garment.name for garment, label in named if label is None)
        wanted = [garment for garment, label in named if label is not None]
        for garment in cleaned(wanted, frame_wh, self._manner.cleaning):
            if garment is None:
                self.tally.note([TOO_SMALL], image.picture.name)
                continue
            label = labels[garment.name]
            self.tally.garments[(garment.name, label)] += 1
            result += _encoded(garment, label, self._config, frame_wh, original_wh, self._manner.version)
        return result


def _bytes(result: Sequence[dict[str, Any]]) -> int:
    """Estimates the memory that regions take, in bytes: the run lengths of brushes are lists of numbers."""
    parts = [part for region in result for part in region["value"].values()]
    texts, lists = ([part for part in parts if isinstance(part, kind)] for kind in (str, list))
    return sum(map(len, texts)) + NUMBER_BYTES * sum(map(len, lists))


def _problem(picture: SetPicture) -> str:
    """Returns why a picture cannot be imported; empty where it can."""
    if not picture.is_there:
        return NOT_THERE
    name = picture.file.name if picture.file is not None else picture.name
    return "" if picture.url or PurePosixPath(name).suffix.lower() in UPLOADABLE else NOT_TAKEN


def _is_alike(frame_wh: tuple[int, int], original_wh: tuple[int, int]) -> bool:
    (width, height), (wide, high) = frame_wh, original_wh
    return abs(width * high - wide * height) <= SHAPE_TOLERANCE * width * high


def _encoded(
    garment: Garment,
    label: str,
    config: LabelConfig,
    frame_wh: tuple[int, int],
    original_wh: tuple[int, int],
    version: str,
) -> list[dict[str, Any]]:
    """Encodes outlines unchanged if the label's tag takes polygons and they lie in the image; else encodes the mask."""
    outlines = garment.outlines
    if outlines and config.output_for(label).kind == "polygon" and _is_within(outlines, frame_wh):
        # Nobody could see or delete an outline that covers no pixel.
        visible = [outline for outline in outlines if outline_to_mask(outline, size_wh=frame_wh).any()]
        return encode_outlines(visible, label, config, size_wh=frame_wh, original_wh=original_wh, model_version=version)
    labelled = LabelledMask(garment.drawn(frame_wh), label)
    scaled = original_wh if original_wh != frame_wh else None
    return encode(labelled, config, outlining=OUTLINING, model_version=version, original_wh=scaled)


def _is_within(outlines: Sequence[Any], size_wh: tuple[int, int]) -> bool:
    return all(((outline >= 0) & (outline <= size_wh)).all() for outline in outlines)
