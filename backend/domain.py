"""The values that travel between stages. Pixels, x before y, origin at the image's upper left corner.

Array contracts, everywhere in Drape:

- an image is `uint8 (H, W, 3)`, RGB, upright (EXIF orientation applied);
- a mask is `bool (H, W)` at the image's own resolution, True inside;
- a coordinate in pixels is a float in `[0, width]` or `[0, height]`, where the pixel `(column, row)` covers
  `[column, column + 1) x [row, row + 1)`; percent is `100 * pixels / size`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Image:
    """A decoded image.

    Attributes:
        pixels: `uint8 (H, W, 3)`, RGB, upright.
        key: SHA-256 of the encoded bytes, 64 hex digits: the name under which its embedding is cached.
        source: where it came from, as the task names it; for messages only.
        original_wh: width and height of the upright photograph where `pixels` are a smaller picture of it; else None.
    """

    pixels: Pixels
    key: str
    source: str
    original_wh: tuple[int, int] | None = None

    @property
    def size_wh(self) -> tuple[int, int]:
        """Width and height in pixels."""
        return self.pixels.shape[1], self.pixels.shape[0]


class Photo(Protocol):
    """An image whose pixels may not be read yet: what is cached under `key` is answered without them.

    Attributes: as of `Image`. Reading `pixels` raises `ImageError` or `LabelStudioError` where they cannot be had.
    """

    @property
    def key(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def size_wh(self) -> tuple[int, int]: ...
    @property
    def pixels(self) -> Pixels: ...


@dataclass(frozen=True)
class Point:
    """A click, in pixels; `positive` is False for 'not this'."""

    x: float
    y: float
    positive: bool = True


@dataclass(frozen=True)
class Box:
    """An axis-aligned box in pixels, `x_min < x_max` and `y_min < y_max`."""

    x_min: float
    y_min: float
    x_max: float
    y_max: float


@dataclass(frozen=True)
class Prompt:
    """What the annotator asked for, in pixels of the image: any of points, boxes, words and examples together.

    Attributes:
        points: clicks on one garment, and beside it.
        boxes: boxes around one garment.
        words: phrases such as 'silk saree', each for every instance in the image.
        examples: boxes around one of many, for everything like it in the image.
        label: the chosen label's value exactly as the label config spells it; None where none was chosen.
    """

    points: tuple[Point, ...] = ()
    boxes: tuple[Box, ...] = ()
    words: tuple[str, ...] = ()
    examples: tuple[Box, ...] = ()
    label: str | None = None

    @property
    def asks_for_all(self) -> bool:
        """True for 'every saree', False for 'this one': a click or a box means one, whatever words stand beside it."""
        return bool(self.examples) or (bool(self.words) and not (self.points or self.boxes))


@dataclass(frozen=True)
class Segment:
    """One mask that a segmenter found, `bool (H, W)`, with the model's own confidence in `[0, 1]`.

    Attributes:
        words: the phrase that found it; empty where a click, a box or an example did.
    """

    mask: Mask
    score: float
    words: str = ""


@dataclass(frozen=True)
class Detection:
    """One garment that the detector found.

    Attributes:
        mask: `bool (H, W)`.
        class_name: as the model spells it.
        score: confidence in the class, in `[0, 1]`: what thresholds of label configs mean.
        mask_score: confidence in the mask, in `[0, 1]`: the mean probability of its pixels.
    """

    mask: Mask
    class_name: str
    score: float
    mask_score: float = 1.0

    @property
    def region_score(self) -> float:
        """Confidence in class and mask together: their product, as SOLO ranks its masks (Wang et al. 2020, sec. 3.3).

        Of two garments named with equal confidence the one with the blurred border is more likely wrong.
        """
        return self.score * self.mask_score


@dataclass(frozen=True)
class Scene:
    """What a detector saw in an image.

    Attributes:
        detections: the most certain first.
        features: `float32 (channels,)`, alike for images that are alike; None where the detector has none.
    """

    detections: tuple[Detection, ...]
    features: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class LabelledMask:
    """A mask under a label of the label config; what regions are made from and read back to.

    Attributes:
        label: the label's value exactly as the config spells it.
        score: confidence in `[0, 1]`; None where a person drew it.
        kind: the region type it was read from ('polygon', 'brush', 'bitmask', 'rectangle', 'ellipse').
        region_id: the Label Studio region id it was read from; None for a new one.
    """

    mask: Mask
    label: str
    score: float | None = None
    kind: str = "polygon"
    region_id: str | None = None


@dataclass(frozen=True)
class Outlining:
    """How masks are tidied and become polygons.

    Attributes:
        tolerance_px: how far a polygon may be from its mask's border, in pixels; 0 follows every pixel.
        parts: a polygon for `each` part of a mask, for the `largest` alone, or one around all, `joined` by bridges.
        speck_percent: a part of less than this share of the image is dropped, such a hole filled.
    """

    tolerance_px: float = 1.2
    parts: Literal["each", "largest", "joined"] = "each"
    speck_percent: float = 0.01

    def speck_px(self, image_px: int) -> float:
        """What a speck has less than, in pixels, in an image of so many."""
        return self.speck_percent / 100 * image_px


@dataclass(frozen=True)
class Certainty:
    """How sure the detector is of one garment: its label in the label config, and its score in `[0, 1]`."""

    label: str
    score: float


@dataclass(frozen=True)
class Prediction:
    """What goes back for one task.

    Attributes:
        regions: Label Studio result dictionaries.
        score: in `[0, 1]`, low means 'look here first'.
        model_version: which model answered.
        certainties: one for each garment found, whose regions may be several.
        cluster: number of the group of images that look alike; None where the detector knows none.
    """

    regions: list[dict[str, object]] = field(default_factory=list)
    score: float = 0.0
    model_version: str = ""
    certainties: tuple[Certainty, ...] = ()
    cluster: int | None = None
