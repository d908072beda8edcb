"""The values that pass between stages. Coordinates are pixels, x before y, from the image's upper left corner.

Array contracts, everywhere in Drape:

- an image is `uint8 (H, W, 3)`, RGB, upright (EXIF orientation applied);
- a mask is `bool (H, W)` at the image's own resolution, True inside;
- a coordinate in pixels is a float in `[0, width]` or `[0, height]`, where the pixel `(column, row)` covers
  `[column, column + 1) x [row, row + 1)`; percent is `100 * pixels / size`.
"""

from __future__ import annotations

from collections.abc import Mapping
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
        key: SHA-256 of the encoded bytes, 64 hex digits; the same for a reduced copy.
        source: the address in the task that it came from; for messages only.
        original_wh: width and height of the upright photograph if `pixels` is a reduced copy of it; else None.
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
    """An image whose pixels may not be decoded yet: a cached embedding makes them unnecessary.

    Attributes: as in `Image`. Reading `pixels` raises `ImageError` or `LabelStudioError` if the image cannot be read.
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
    """A click, in pixels; `positive` is False for a click that means 'not this'."""

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
    """An annotator's prompt, in pixels of the image: any combination of points, boxes, words and examples.

    Attributes:
        points: clicks on one garment, or beside it.
        boxes: boxes around one garment.
        words: phrases such as 'silk saree'; each asks for every instance in the image.
        examples: boxes around one garment each; each asks for everything like it in the image.
        label: the chosen label's value exactly as the label config spells it; None if no label was chosen.
    """

    points: tuple[Point, ...] = ()
    boxes: tuple[Box, ...] = ()
    words: tuple[str, ...] = ()
    examples: tuple[Box, ...] = ()
    label: str | None = None

    @property
    def asks_for_all(self) -> bool:
        """Whether it asks for every instance: by examples, or by words without clicks or boxes (which mean one)."""
        return bool(self.examples) or (bool(self.words) and not (self.points or self.boxes))


@dataclass(frozen=True)
class Segment:
    """One mask that a segmenter returned, `bool (H, W)`, with the model's own confidence in `[0, 1]`.

    Attributes:
        words: the phrase of the prompt that it answers; empty if it answers a click, a box or an example.
    """

    mask: Mask
    score: float
    words: str = ""


@dataclass(frozen=True)
class Detection:
    """One garment that the detector found.

    Attributes:
        mask: `bool (H, W)`.
        class_name: the class as the model spells it.
        score: confidence in the class, in `[0, 1]`; the thresholds in label configs apply to it.
        mask_score: confidence in the mask, in `[0, 1]`: the mean probability of its pixels.
    """

    mask: Mask
    class_name: str
    score: float
    mask_score: float = 1.0

    @property
    def region_score(self) -> float:
        """The product of both confidences, by which SOLO ranks its masks (Wang et al. 2020, sec. 3.3).

        Of two garments with equal class scores, the one with the blurred border is more likely wrong.
        """
        return self.score * self.mask_score


@dataclass(frozen=True)
class Scene:
    """What a detector found in an image.

    Attributes:
        detections: highest score first.
        features: `float32 (channels,)`, similar for similar images; None if the detector provides none.
        class_scores: class → confidence of its best candidate, in `[0, 1]`, however low; empty if the detector tells
            nothing below the score that was asked for.
    """

    detections: tuple[Detection, ...]
    features: npt.NDArray[np.float32] | None = None
    class_scores: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class LabelledMask:
    """A mask with a label of the label config: regions are encoded from it and decoded to it.

    Attributes:
        label: the label's value exactly as the config spells it.
        score: confidence in `[0, 1]`; None if a person drew it.
        kind: type of the region it was decoded from ('polygon', 'brush', 'bitmask', 'rectangle', 'ellipse').
        region_id: Label Studio's id of the region it was decoded from; None for a new mask.
    """

    mask: Mask
    label: str
    score: float | None = None
    kind: str = "polygon"
    region_id: str | None = None


@dataclass(frozen=True)
class Outlining:
    """How masks are cleaned up and become polygons.

    Attributes:
        tolerance_px: largest distance of a polygon from its mask's border, in pixels; 0 follows every pixel.
        parts: a polygon for `each` part of a mask, for the `largest` alone, or one around all, `joined` by bridges.
        speck_percent: percentage of the image's area below which a part of a mask is dropped and a hole is filled.
    """

    tolerance_px: float = 1.2
    parts: Literal["each", "largest", "joined"] = "each"
    speck_percent: float = 0.01

    def speck_px(self, image_px: int) -> float:
        """The area, in pixels, below which a part is a speck in an image of `image_px` pixels."""
        return self.speck_percent / 100 * image_px


@dataclass(frozen=True)
class LabelScore:
    """How certain the detector is of one garment: its label in the label config, and its score in `[0, 1]`."""

    label: str
    score: float


@dataclass(frozen=True)
class Prediction:
    """A model's answer for one task.

    Attributes:
        regions: Label Studio result dictionaries.
        score: in `[0, 1]`; people should check images with low scores first.
        model_version: name of the model that answered.
        certainties: one for each detected garment, which may have several regions.
        cluster: number of the image's group of similar images; None if the detector has no groups.
    """

    regions: list[dict[str, object]] = field(default_factory=list)
    score: float = 0.0
    model_version: str = ""
    label_scores: tuple[LabelScore, ...] = ()
    cluster: int | None = None
