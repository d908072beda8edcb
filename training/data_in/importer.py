"""Turns the images of a set, one after another, into tasks with regions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from backend.domain import LabelledMask, Outlining
from backend.errors import ImageError, LabelStudioError
from backend.label_studio.label_config import LabelConfig
from backend.label_studio.uploads import UPLOADABLE
from backend.regions.encode import encode, encode_outlines
from backend.regions.polygons import outline_to_mask
from training.data_in.annotated_image import AnnotatedImage, Garment
from training.data_in.class_mapping import ClassMapping
from training.data_in.formats.detect import ReadOptions, SetFormat
from training.data_in.mask_cleaning import MaskCleaning, cleaned
from training.data_in.picture_folder import SetPicture
from training.data_in.project_tasks import ImportItem, ImportKind, ProjectTasks
from training.data_in.tally import DUPLICATE, Tally

# How many images are written together, and how many bytes they and their regions may take until then. Label Studio
# goes through the whole project with each request, so few large requests are quicker.
BATCH_IMAGES, MAX_BATCH_BYTES = 100, 32_000_000
NUMBER_BYTES = 8
# A mask that is imported and exported again stays the same within a pixel, and no part of it is dropped as a speck.
OUTLINING = Outlining(tolerance_px=0.8, parts="each", speck_percent=0.0)
# Proportions may differ by this much for the same image, because sizes are rounded to whole pixels.
SHAPE_TOLERANCE = 0.01

MISSING = "missing image"
UNSUPPORTED = "image of a type that Label Studio does not accept: convert it to JPEG or PNG"
UNREADABLE = "unreadable image"
WRONG_PROPORTIONS = "annotation whose proportions differ from its image's (EXIF rotation?)"
TOO_SMALL = "garment without pixels, or below the minimum area"


@dataclass(frozen=True)
class ImportOptions:
    """The options of an import.

    Attributes:
        set_format: None to recognise it from the path.
        kind: as approved annotations, or as predictions to review.
        ground_truth: whether annotations are starred.
        mapping: a file of `their class: our label`.
        dry_run: whether nothing is written.
    """

    set_format: SetFormat | None = None
    read_options: ReadOptions = field(default_factory=ReadOptions)
    kind: ImportKind = "annotations"
    ground_truth: bool = False
    mapping: Path | None = None
    cleaning: MaskCleaning = field(default_factory=MaskCleaning)
    dry_run: bool = False


class Importer:
    """Collects images, and writes them in batches."""

    def __init__(
        self, tasks: ProjectTasks, config: LabelConfig, mapping: ClassMapping, options: ImportOptions, version: str
    ) -> None:
        """Prepares an import.

        Args:
            version: the origin that is recorded in the regions, and the model version of predictions.
        """
        self.tally = Tally()
        self._tasks, self._config, self._mapping = tasks, config, mapping
        self._options, self._version = options, version
        self._waiting = tasks.waiting(version) if options.kind == "predictions" else None
        self._seen: set[str | int] = set()
        self._batch: list[ImportItem] = []
        self._bytes = 0

    def add(self, image: AnnotatedImage) -> None:
        """Imports an image, unless it has a task already that stays as it is.

        Raises:
            LabelStudioError: Label Studio does not answer, or refuses; the message says how many images were imported.
        """
        picture, problem = image.picture, _problem(image.picture)
        if problem:
            self.tally.note([problem], picture.name)
            return
        task_id = self._tasks.find(picture)
        key = picture.name if task_id is None else task_id
        if key in self._seen:
            self.tally.note([DUPLICATE], picture.name)
            return
        self._seen.add(key)
        if task_id is not None and not self._is_open(task_id):
            self.tally.skipped += 1
            return
        try:
            result = self._regions(image)
        except ImageError:
            self.tally.note([UNREADABLE], picture.name)
            return
        self.tally.note(image.notes, picture.name)
        if task_id is not None and not result:
            self.tally.skipped += 1
            return
        self._batch.append(ImportItem(picture, result, task_id))
        self._bytes += len(picture.encoded or b"") + _bytes(result)
        if len(self._batch) >= BATCH_IMAGES or self._bytes >= MAX_BATCH_BYTES:
            self.flush()

    def flush(self) -> None:
        """Writes the collected images.

        Raises:
            LabelStudioError: as in `add`.
        """
        batch, self._batch, self._bytes = self._batch, [], 0
        options = self._options
        if not options.dry_run:
            try:
                self._tasks.write(batch, kind=options.kind, version=self._version, ground_truth=options.ground_truth)
            except LabelStudioError as e:
                imported = self.tally.new + self.tally.updated
                raise type(e)(
                    f"{e} {imported} images were imported. Run the same command again to import the rest."
                ) from e
        self.tally.new += sum(arrival.task_id is None for arrival in batch)
        self.tally.updated += sum(arrival.task_id is not None for arrival in batch)

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
                self.tally.note([WRONG_PROPORTIONS], image.picture.name)
            return []
        result: list[dict[str, Any]] = []
        labelled = [(garment, self._mapping.label_for(garment.name)) for garment in image.garments]
        labels = {garment.name: label for garment, label in labelled if label is not None}
        self.tally.unmapped.update(garment.name for garment, label in labelled if label is None)
        kept = [garment for garment, label in labelled if label is not None]
        for garment in cleaned(kept, frame_wh, self._options.cleaning):
            if garment is None:
                self.tally.note([TOO_SMALL], image.picture.name)
                continue
            label = labels[garment.name]
            self.tally.garments[(garment.name, label)] += 1
            result += _encoded(garment, label, self._config, frame_wh, original_wh, self._version)
        return result


def _bytes(result: Sequence[dict[str, Any]]) -> int:
    """Estimates the memory that regions take, in bytes: the run lengths of brushes are lists of numbers."""
    parts = [part for region in result for part in region["value"].values()]
    texts, lists = ([part for part in parts if isinstance(part, kind)] for kind in (str, list))
    return sum(map(len, texts)) + NUMBER_BYTES * sum(map(len, lists))


def _problem(picture: SetPicture) -> str:
    """Returns why a picture cannot be imported; empty where it can."""
    if not picture.is_found:
        return MISSING
    name = picture.file.name if picture.file is not None else picture.name
    return "" if picture.url or PurePosixPath(name).suffix.lower() in UPLOADABLE else UNSUPPORTED


def _is_alike(frame_wh: tuple[int, int], original_wh: tuple[int, int]) -> bool:
    (width, height), (original_width, original_height) = frame_wh, original_wh
    return abs(width * original_height - original_width * height) <= SHAPE_TOLERANCE * width * original_height


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
    labelled = LabelledMask(garment.to_mask(frame_wh), label)
    scaled = original_wh if original_wh != frame_wh else None
    return encode(labelled, config, outlining=OUTLINING, model_version=version, original_wh=scaled)


def _is_within(outlines: Sequence[Any], size_wh: tuple[int, int]) -> bool:
    return all(((outline >= 0) & (outline <= size_wh)).all() for outline in outlines)
