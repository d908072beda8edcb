"""Crops of the training pictures, each changed by chance: framing, light, blur, noise, and garments pasted over it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import numpy.typing as npt

from backend.domain import Mask, Pixels
from backend.errors import DatasetError
from backend.segmenters.builtin.frames import LEAST_SHARE, SIZE_WH, fitted, whole
from training.prompt_network.pictures import Instances, Pictures, Target

# How many crops are of the first data set, where there are several; those are photographs, the others help.
FIRST_SHARE = 0.7
# Beside it, crops show less than the garment, as around an answer that missed a part, up to much more.
SCALES = (0.8, 2.6)
WHOLE_SHARE, PASTE_SHARE, BLUR_SHARE, NOISE_SHARE, GREY_SHARE = 0.3, 0.3, 0.15, 0.3, 0.05
# How many crops are turned, by at most so many degrees, and made so much wider or narrower.
TURN_SHARE, MOST_DEGREES, MOST_WIDER = 0.5, 12, 1.15
# Garments with fewer pixels in the picture are not asked for, and with fewer in the crop neither.
LEAST_PX, LEAST_CROP_PX = 400, 48


@dataclass(frozen=True)
class Crop:
    """What a frame shows of a picture, at the network's size.

    Attributes:
        pixels: `uint8 (h, w, 3)`, RGB.
        instances: the instance of each pixel, `uint8 (h, w)`; 0 for none.
        classes: the class of each instance number, 0 first: `int64 (I + 1,)`.
        asked: numbers of the instances that a prompt may ask for here, the crop's own first.
        set_number: the data set, among the sets.
    """

    pixels: Pixels
    instances: Instances
    classes: npt.NDArray[np.int64]
    asked: tuple[int, ...]
    set_number: int

    @property
    def class_map(self) -> npt.NDArray[np.int64]:
        """The class of each pixel, `int64 (h, w)`; 0 for none."""
        return self.classes[self.instances]

    def mask(self, instance: int) -> Mask:
        """Returns where the instance is seen, `bool (h, w)`."""
        return self.instances == instance


class Crops:
    """Draws crops by chance from the pictures that are not held out."""

    def __init__(self, pictures: Pictures) -> None:
        """Lists the garments to crop around.

        Raises:
            DatasetError: the first set has none.
        """
        self._pictures = pictures
        by_set: dict[int, list[Target]] = {}
        for target in pictures.targets(held_out=False, least_px=LEAST_PX):
            by_set.setdefault(pictures.entries[target.picture].set_number, []).append(target)
        if 0 not in by_set:
            raise DatasetError(
                f"No picture to train on has a garment of at least {LEAST_PX} pixels to ask for. Name a label "
                "config whose labels are the set's own with --labels."
            )
        self._by_set = [by_set[number] for number in sorted(by_set)]
        rest = len(self._by_set) - 1
        self._shares = [FIRST_SHARE, *[(1 - FIRST_SHARE) / rest] * rest] if rest else [1.0]

    @property
    def targets(self) -> int:
        """How many garments there are to crop around."""
        return sum(map(len, self._by_set))

    def draw(self, rng: np.random.Generator) -> Crop:
        """Returns a crop around a garment, changed by chance."""
        crop = self._plain(rng)
        if rng.random() < PASTE_SHARE:
            crop = _pasted(crop, self._plain(rng), rng)
        return replace(crop, pixels=_relit(crop.pixels, rng), asked=_large_enough(crop))

    def _plain(self, rng: np.random.Generator) -> Crop:
        targets = self._by_set[int(rng.choice(len(self._by_set), p=self._shares))]
        target = targets[int(rng.integers(len(targets)))]
        entry = self._pictures.entries[target.picture]
        instances = self._pictures.instances(target.picture)
        if rng.random() < WHOLE_SHARE:
            frame = whole(entry.size_wh)
        else:
            left, top, width, height = cv2.boundingRect((instances == target.instance).astype(np.uint8))
            # Never nearer than a crop for an annotator's click.
            frame = fitted(
                (left, top, left + width, top + height),
                scale=rng.uniform(*SCALES),
                shift=tuple(rng.uniform(-0.12, 0.12, 2)),
                least_px=LEAST_SHARE * max(entry.size_wh),
            )
        pixels = frame.cut(self._pictures.pixels(target.picture), size_wh=SIZE_WH)
        seen = frame.cut(instances, size_wh=SIZE_WH, labels=True)
        if rng.random() < 0.5:
            pixels, seen = pixels[:, ::-1], seen[:, ::-1]
        if rng.random() < TURN_SHARE:
            pixels, seen = _turned(pixels, seen, rng)
        others = [n for n, asked in enumerate(entry.asked, start=1) if asked and n != target.instance]
        rng.shuffle(others)
        classes = self._pictures.class_numbers(target.picture)
        return Crop(
            np.ascontiguousarray(pixels),
            np.ascontiguousarray(seen),
            classes,
            (target.instance, *others),
            entry.set_number,
        )


def _turned(pixels: Pixels, instances: Instances, rng: np.random.Generator) -> tuple[Pixels, Instances]:
    height, width = instances.shape
    move = cv2.getRotationMatrix2D((width / 2, height / 2), rng.uniform(-MOST_DEGREES, MOST_DEGREES), 1.0)
    wider = MOST_WIDER ** rng.uniform(-1, 1)
    move[0] = move[0] * wider + (0, 0, width / 2 * (1 - wider))
    turned = cv2.warpAffine(pixels, move, (width, height), flags=cv2.INTER_LINEAR)
    seen = cv2.warpAffine(instances, move, (width, height), flags=cv2.INTER_NEAREST)
    return np.asarray(turned, np.uint8), np.asarray(seen, np.uint8)


def _pasted(crop: Crop, other: Crop, rng: np.random.Generator) -> Crop:
    """Returns the crop with a garment of another in front of it, which is asked for first."""
    height, width = crop.instances.shape
    if other.set_number != crop.set_number or len(crop.classes) > np.iinfo(np.uint8).max:
        return crop
    right, down = rng.uniform(-0.4, 0.4, 2) * (width, height)
    move = np.array([[1, 0, right], [0, 1, down]], np.float32)
    mask, pixels = (
        cv2.warpAffine(array, move, (width, height), flags=cv2.INTER_NEAREST)
        for array in (other.mask(other.asked[0]).astype(np.uint8), other.pixels)
    )
    # More would leave little to learn of the crop itself.
    if not 0 < np.count_nonzero(mask) < mask.size / 4:
        return crop
    number = len(crop.classes)
    return replace(
        crop,
        pixels=np.where(mask[..., None] > 0, pixels, crop.pixels),
        instances=np.where(mask > 0, np.uint8(number), crop.instances),
        classes=np.append(crop.classes, other.classes[other.asked[0]]),
        asked=(number, *crop.asked),
    )


def _large_enough(crop: Crop) -> tuple[int, ...]:
    counts = np.bincount(crop.instances.ravel(), minlength=len(crop.classes))
    return tuple(instance for instance in crop.asked if counts[instance] >= LEAST_CROP_PX)


def _relit(pixels: Pixels, rng: np.random.Generator) -> Pixels:
    """Returns the picture in other light, by a worse camera."""
    changed = pixels.astype(np.float32)
    grey = changed.mean(2, keepdims=True)
    saturation = 0.0 if rng.random() < GREY_SHARE else rng.uniform(0.6, 1.4)
    changed = grey + (changed - grey) * saturation
    # Each channel by itself is the light's colour.
    changed = (changed - 128) * rng.uniform(0.7, 1.3) + 128 + rng.uniform(-30, 30)
    changed *= rng.uniform(0.88, 1.12, 3).astype(np.float32)
    if rng.random() < BLUR_SHARE:
        changed = cv2.GaussianBlur(changed, (0, 0), rng.uniform(0.4, 1.4))
    if rng.random() < NOISE_SHARE:
        changed += rng.uniform(2, 10) * rng.standard_normal(changed.shape, np.float32)
    return np.clip(changed, 0, 255).astype(np.uint8)
