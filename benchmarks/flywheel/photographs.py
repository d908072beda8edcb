"""The images of a flywheel: the first of an annotated set are labelled, and the last judge."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

from backend.domain import LabelledMask
from backend.errors import DatasetError, ImageError
from backend.label_studio.label_config import LabelConfig
from backend.settings import Settings
from backend.storage.atomic_files import link_or_copy, write_atomically
from label_studio_config.demo.write import write_yolo_dataset
from training.data_in.annotated_image import AnnotatedImage, Source
from training.data_in.class_mapping import ClassMapping
from training.data_in.evaluation_set import evaluation_images, truth_of_image
from training.data_in.formats.detect import ReadOptions, open_set
from training.data_in.picture_folder import is_picture
from training.evaluation.compact_scenes import CompactMasks
from training.evaluation.held_out import HeldOut

logger = logging.getLogger(__name__)

# Photographs that judge are no larger: their masks take a gigabyte otherwise.
JUDGED_SIDE_PX = 832
# No other figures of the project have these seeds.
LABELLED_FROM, JUDGED_FROM = 500_000, 600_000


@dataclass(frozen=True)
class Photographs:
    """The images of a flywheel.

    Attributes:
        folder: holds those that can be labelled, and nothing else.
        truth: the garments of each of them, by its name in the folder.
        judged: those that nobody labels.
    """

    folder: Path
    truth: Mapping[str, Sequence[LabelledMask]]
    judged: tuple[HeldOut, ...]


def draw_figures(folder: Path, *, images: int, judged: int) -> Path:
    """Draws figures as an annotated set; returns its path. What is there already is not drawn again."""
    return write_yolo_dataset(
        folder,
        train_seeds=range(LABELLED_FROM, LABELLED_FROM + images),
        val_seeds=range(JUDGED_FROM, JUDGED_FROM + judged),
    )


def open_photographs(
    data: Path, config: LabelConfig, folder: Path, *, images: int, judged: int, unseen: bool = False
) -> Photographs:
    """Reads an annotated set, and puts its first `images` into a folder for Label Studio; its last `judged` judge.

    Args:
        data: a set in any format that `drape import` reads.
        folder: where images and pixels are stored.
        unseen: its last `images`, at most `judged`, are labelled: they judge, too.

    Raises:
        DatasetError: the set is missing or damaged, or has fewer images.
    """
    source = _opened(data)
    if source.count < (judged if unseen else images + judged):
        raise DatasetError(
            f"{data} holds {source.count} images, of which {images} would be labelled and {judged} judge. Name fewer "
            "with --images, --judged, --labels or --generations."
        )
    first = source.count - images if unseen else 0
    truth = _labelled(islice(source.images, first, first + images), config, folder / "photographs")
    # Opened once more, as a set is read only once.
    last = replace(source, images=islice(_opened(data).images, source.count - judged, None))
    mapping, pixels = ClassMapping(config), folder / "pixels"
    judging = evaluation_images(last, config, mapping, Settings(), side_px=JUDGED_SIDE_PX, folder=pixels)
    return Photographs(folder / "photographs", truth, tuple(judging))


def _opened(data: Path) -> Source:
    return open_set([str(data)], None, ReadOptions())[1]


def _labelled(images: Iterable[AnnotatedImage], config: LabelConfig, folder: Path) -> dict[str, Sequence[LabelledMask]]:
    """Links the images into the folder; returns the garments of each by its name there."""
    truth: dict[str, Sequence[LabelledMask]] = {}
    for number, annotated in enumerate(images, 1):
        picture = annotated.picture
        suffix = Path(picture.name).suffix if picture.file is None else picture.file.suffix
        path = folder / f"{number:06}{suffix or '.jpg'}"
        try:
            size_wh = picture.size_wh()
        except ImageError as e:
            logger.warning("Image skipped: %s", e)
            continue
        if size_wh is None or not is_picture(path):
            logger.warning("Image skipped: '%s' is missing, or of a type that Label Studio does not show", picture.name)
            continue
        if picture.file is None:
            write_atomically(path, picture.content())
        elif not path.exists():
            link_or_copy(picture.file.resolve(), path)
        truth[path.name] = CompactMasks(truth_of_image(annotated, size_wh, ClassMapping(config)))
    return truth
