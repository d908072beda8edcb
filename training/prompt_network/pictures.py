"""Annotated pictures, decoded once into memory maps that every process of a training shares."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from backend.domain import Mask, Pixels
from backend.errors import DatasetError, ImageError
from backend.images.decode import decode_image
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.regions.mask_size import resize_mask
from backend.settings import Settings
from backend.storage.atomic_files import write_atomically
from training.data_in.annotated_image import AnnotatedImage
from training.data_in.class_mapping import ClassMapping
from training.data_in.formats.detect import ReadOptions, open_set

logger = logging.getLogger(__name__)

# A nearer crop of a small garment needs the photograph's own pixels.
LONGEST_SIDE_PX = 1024
# Instances have numbers from 1 in `uint8`.
MOST_INSTANCES = 255
INDEX, PIXELS, INSTANCES = "index.json", "pixels.bin", "instances.bin"

Instances = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Source:
    """What a folder of decoded pictures was made from, and how.

    Attributes:
        sets: the paths of the data sets.
        held_out: so many pictures of each set, the last in its order, are never trained on.
        labels: the label config whose labels are the garments to ask for in the first set; None for every class. In the
            other sets every class is asked for.
    """

    sets: tuple[str, ...]
    held_out: int
    labels: str | None


@dataclass(frozen=True)
class Entry:
    """Where a picture lies in the memory maps, and what is in it.

    Attributes:
        set_number: place of its data set among the sets.
        size_wh: in pixels.
        offset: pixels of all pictures before it.
        classes: the number of each instance's class; instance 1 comes first.
        asked: whether a prompt may ask for the instance: it is a garment of the label config.
    """

    name: str
    set_number: int
    held_out: bool
    size_wh: tuple[int, int]
    offset: int
    classes: tuple[int, ...]
    asked: tuple[bool, ...]


@dataclass(frozen=True)
class Target:
    """One garment of one picture, by their numbers."""

    picture: int
    instance: int


@dataclass(frozen=True)
class Pictures:
    """Decoded pictures in a folder.

    Attributes:
        classes: names of all classes, from number 1; each begins with its set's number.
    """

    folder: Path
    classes: tuple[str, ...]
    entries: tuple[Entry, ...]

    def pixels(self, number: int) -> Pixels:
        """Returns the picture `uint8 (H, W, 3)`, RGB, on the disk."""
        return self._view(self._pixels, number)

    def instances(self, number: int) -> Instances:
        """Returns the number of the instance that each pixel shows, `uint8 (H, W)`; 0 for none."""
        return self._view(self._instances, number)

    def class_numbers(self, number: int) -> npt.NDArray[np.int64]:
        """Returns the class of each instance number of a picture, with 0 first."""
        return np.array((0, *self.entries[number].classes), np.int64)

    def known_classes(self) -> npt.NDArray[np.bool_]:
        """Returns which classes each data set tells apart, `(sets, classes + 1)`; 0, none of them, is in every set."""
        sets = np.array([-1, *(int(name.split("/")[0]) for name in self.classes)])
        numbers = sorted({entry.set_number for entry in self.entries})
        return np.stack([(sets == number) | (sets == -1) for number in numbers])

    def targets(self, *, held_out: bool, least_px: int) -> list[Target]:
        """Returns the garments with at least so many pixels to be seen, in the order of the pictures."""
        return [
            Target(number, instance)
            for number, entry in enumerate(self.entries)
            if entry.held_out == held_out
            for instance, count in enumerate(np.bincount(self.instances(number).ravel(), minlength=1)[1:], start=1)
            if count >= least_px and entry.asked[instance - 1]
        ]

    def _view(self, flat: npt.NDArray[np.uint8], number: int) -> npt.NDArray[np.uint8]:
        entry = self.entries[number]
        width, height = entry.size_wh
        rows = flat[entry.offset : entry.offset + width * height]
        return rows.reshape(height, width, *flat.shape[1:])

    @cached_property
    def _pixels(self) -> npt.NDArray[np.uint8]:
        return np.memmap(self.folder / PIXELS, np.uint8, "r").reshape(-1, 3)

    @cached_property
    def _instances(self) -> npt.NDArray[np.uint8]:
        return np.memmap(self.folder / INSTANCES, np.uint8, "r")


def open_pictures(folder: Path) -> Pictures:
    """Opens what `decode_pictures` wrote."""
    index = json.loads((folder / INDEX).read_text())
    return Pictures(folder, tuple(index["classes"]), tuple(_entry(each) for each in index["entries"]))


def decode_pictures(source: Source, folder: Path) -> Pictures:
    """Decodes all pictures into a folder, unless they are there already.

    Raises:
        DatasetError: a set is missing, damaged or too small, or the label config cannot be read.
        LabelConfigError: the label config cannot be served.
    """
    index = folder / INDEX
    if index.is_file() and json.loads(index.read_text())["source"] == json.loads(json.dumps(asdict(source))):
        return open_pictures(folder)
    # The index comes last: without it, what is there counts as nothing.
    index.unlink(missing_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    mapping = ClassMapping(_label_config(Path(source.labels))) if source.labels else None
    numbers: dict[str, int] = {}
    entries: list[Entry] = []
    with (folder / PIXELS).open("wb") as pixels, (folder / INSTANCES).open("wb") as instances:
        for set_number, path in enumerate(source.sets):
            first = len(entries)
            for annotated, picture, shown, names in _decoded(path):
                classes = tuple(numbers.setdefault(f"{set_number}/{name}", len(numbers) + 1) for name in names)
                asked = tuple(
                    set_number > 0 or mapping is None or mapping.label_for(name) is not None for name in names
                )
                offset = entries[-1].offset + int(np.prod(entries[-1].size_wh)) if entries else 0
                size_wh = (picture.shape[1], picture.shape[0])
                entries.append(Entry(annotated.picture.name, set_number, False, size_wh, offset, classes, asked))
                pixels.write(picture.tobytes())
                instances.write(shown.tobytes())
            entries[first:] = _split(entries[first:], source.held_out, path)
    written = {"source": asdict(source), "classes": list(numbers), "entries": [asdict(entry) for entry in entries]}
    write_atomically(index, json.dumps(written))
    logger.info("Decoded %d pictures with %d classes", len(entries), len(numbers))
    return open_pictures(folder)


def _label_config(file: Path) -> LabelConfig:
    try:
        return parse_label_config(file.read_text(encoding="utf-8"))
    except OSError as e:
        raise DatasetError(f"The label config {file} cannot be read: {e.strerror}.") from e


def _decoded(path: str) -> Iterator[tuple[AnnotatedImage, Pixels, Instances, tuple[str, ...]]]:
    """Yields each picture of a set with its instances, and their class names from instance 1."""
    _, images = open_set([path], None, ReadOptions())
    for annotated in images.images:
        picture = annotated.picture
        try:
            decoded = decode_image(
                picture.content(),
                source=picture.name,
                max_pixels=Settings().image_max_pixels,
                side_px=LONGEST_SIDE_PX,
            )
        except (ImageError, OSError) as e:
            logger.warning("The picture '%s' is left out: %s", picture.name, e)
            continue
        drawn_wh = annotated.size_wh or decoded.original_wh or decoded.size_wh
        masks = [resize_mask(garment.to_mask(drawn_wh), decoded.size_wh) for garment in annotated.garments]
        if len(masks) > MOST_INSTANCES:
            logger.warning("The picture '%s' has more than %d garments, and is left out", picture.name, MOST_INSTANCES)
            continue
        yield annotated, decoded.pixels, _painted(masks, decoded.size_wh), tuple(one.name for one in annotated.garments)
    for (reason, example), count in images.left_out.items():
        logger.warning("%s: left out %d x: %s (%s)", path, count, reason, example)


def _painted(masks: Sequence[Mask], size_wh: tuple[int, int]) -> Instances:
    """Returns which mask is in front at each pixel: back to front, as they were drawn."""
    shown = np.zeros((size_wh[1], size_wh[0]), np.uint8)
    for instance, mask in enumerate(masks, start=1):
        shown[mask] = instance
    return shown


def _split(entries: Sequence[Entry], held_out: int, path: str) -> list[Entry]:
    if len(entries) <= held_out:
        raise DatasetError(
            f"{path} has {len(entries)} readable pictures, of which {held_out} would be held out: none is left to "
            "train on. Hold out fewer with --held-out."
        )
    first = len(entries) - held_out
    return [Entry(**{**vars(entry), "held_out": number >= first}) for number, entry in enumerate(entries)]


def _entry(stored: dict[str, Any]) -> Entry:
    as_tuples = {name: tuple(stored[name]) for name in ("size_wh", "classes", "asked")}
    return Entry(**{**stored, **as_tuples})
