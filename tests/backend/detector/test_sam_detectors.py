from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import pytest

from backend.detector.sam_detectors import RefinedDetector, WordsDetector, bounding_box
from backend.detector.yolo11 import ImageDetector
from backend.domain import Box, Detection, Image, Mask, Photo, Prompt, Scene, Segment
from backend.label_studio.label_config import parse_label_config
from backend.regions.selection import without_duplicates
from backend.segmenters.base import Segmenter
from label_studio_config.palette_xml import palette
from tests.support import iou, shapes

CONFIG = """<View><Image name="image" value="$image"/>
  <PolygonLabels name="p" toName="image">
    <Label value="saree" prompt="silk saree"/><Label value="blouse"/><Label value="choli" prompt="blouse"/>
  </PolygonLabels>
  <BrushLabels name="b" toName="image" model_skip="true"><Label value="bag"/></BrushLabels></View>"""


def mask(left: int, right: int) -> Mask:
    found = np.zeros((80, 100), bool)
    found[10:70, left:right] = True
    return found


class Reader:
    """Finds for each phrase what it was given; a model that needs weights is tried in `test_app_sam3.py`."""

    name = "reader"

    def __init__(self, found: dict[str, list[Segment]]) -> None:
        self.found = found
        self.asked: list[str] = []

    def find_words(self, image: Photo, phrases: Sequence[str], *, min_score: float) -> list[Segment]:
        self.asked = list(phrases)
        return [one for phrase in phrases for one in self.found.get(phrase, []) if one.score >= min_score]


IMAGE = Image(np.zeros((80, 100, 3), np.uint8), "k", "s")


def test_one_phrase_a_label_and_duplicates_go_to_the_surer() -> None:
    reader = Reader(
        {
            "silk saree": [Segment(mask(0, 40), 0.6, "silk saree"), Segment(mask(60, 90), 0.3, "silk saree")],
            "blouse": [Segment(mask(0, 42), 0.8, "blouse"), Segment(mask(0, 10), 0.1, "blouse")],
        }
    )
    (scene,) = WordsDetector(reader, parse_label_config(CONFIG)).detect([IMAGE], min_score=0.25)
    assert sorted(reader.asked) == ["blouse", "silk saree"]
    assert [(one.class_name, one.score) for one in without_duplicates(scene.detections)] == [
        ("blouse", 0.8),
        ("saree", 0.3),
    ]


def test_layered_garments_are_no_duplicates() -> None:
    pair = [Detection(mask(0, 50), "kurta", 0.9), Detection(mask(0, 20), "shawl", 0.8)]
    assert without_duplicates(pair) == pair
    assert without_duplicates([]) == []


def test_a_box_holds_all_of_its_mask_and_no_more() -> None:
    assert bounding_box(mask(3, 40)) == Box(3, 10, 40, 70)
    for one in shapes().values():
        box = bounding_box(one)
        assert one[int(box.y_min) : int(box.y_max), int(box.x_min) : int(box.x_max)].sum() == one.sum()


class Coarse:
    """A detector whose masks reach to the garment's ends, and leave a gap between."""

    def detect(self, images: Iterable[Photo], *, min_score: float) -> Iterator[Scene]:
        coarse = np.zeros((80, 100), bool)
        coarse[10:30, 20:60] = coarse[45:62, 20:60] = True
        for _ in images:
            yield Scene((Detection(coarse, "saree", 0.7),))


class Blind:
    """A segmenter that finds nothing."""

    name = "blind"

    def segment(self, image: Photo, prompt: Prompt) -> list[Segment]:
        return []


class Red(Blind):
    """A segmenter that finds what is red in the box."""

    def segment(self, image: Photo, prompt: Prompt) -> list[Segment]:
        (box,) = prompt.boxes
        found = image.pixels[..., 0] == 180
        found[:, : int(box.x_min)] = found[:, int(box.x_max) :] = False
        return [Segment(found, 0.9)]


class Refiner(Blind):
    """A segmenter that improves masks: it closes gaps between rows."""

    def refine(self, image: Photo, mask: Mask) -> Mask:
        rows = np.flatnonzero(mask.any(axis=1))
        closed = mask.copy()
        closed[rows[0] : rows[-1] + 1] = mask.any(axis=0)
        return closed


def only(detector: ImageDetector, image: Image) -> Detection:
    """The one garment that it finds."""
    (scene,) = detector.detect([image], min_score=0.5)
    (found,) = scene.detections
    return found


@pytest.mark.parametrize("segmenter", [Red(), Refiner()])
def test_the_segmenters_mask_replaces_the_detectors_and_keeps_its_class_and_score(segmenter: Segmenter) -> None:
    pixels = np.full((80, 100, 3), 120, np.uint8)
    pixels[10:62, 20:60] = (180, 30, 40)
    truth = pixels[..., 0] == 180
    image = Image(pixels, "k", "s")
    assert iou(only(Coarse(), image).mask, truth) < 0.9
    refined = only(RefinedDetector(Coarse(), segmenter), image)
    assert (refined.class_name, refined.score) == ("saree", 0.7)
    assert np.array_equal(refined.mask, truth)


def test_where_the_segmenter_finds_nothing_the_detectors_mask_stays() -> None:
    coarse = only(Coarse(), IMAGE)
    assert np.array_equal(only(RefinedDetector(Coarse(), Blind()), IMAGE).mask, coarse.mask)


def test_a_plain_palette_asks_for_its_labels() -> None:
    reader = Reader({})
    list(WordsDetector(reader, parse_label_config(palette(("saree", "dupatta")))).detect([IMAGE], min_score=0.25))
    assert sorted(reader.asked) == ["dupatta", "saree"]
