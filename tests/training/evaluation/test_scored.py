from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from backend.detector.sam_detectors import WordsDetector
from backend.domain import Detection, Image, LabelledMask, Photo, Prompt, Scene, Segment
from backend.errors import ImageError
from backend.label_studio.label_config import parse_label_config
from training.evaluation.compact_scenes import CompactMasks
from training.evaluation.held_out import HeldOut
from training.evaluation.score import evaluate_detector

LABELS = '<Label value="saree"/><Label value="kurta" predicted_values="kurti"/>'
XML = f'<View><Image name="i" value="$image"/><PolygonLabels name="p" toName="i">{LABELS}</PolygonLabels></View>'
CONFIG = parse_label_config(XML)


def mask(first: int) -> np.ndarray[tuple[int, ...], np.dtype[np.bool_]]:
    drawn = np.zeros((20, 60), bool)
    drawn[5:15, first : first + 10] = True
    return drawn


class Sees:
    """Finds the same in every image: a kurta under its earlier name, a saree, and what is no label."""

    def detect(self, images: Iterable[Photo], *, min_score: float) -> Iterator[Scene]:
        for _ in images:
            found = [Detection(mask(0), "Kurti", 0.9), Detection(mask(20), "saree", 0.8)]
            yield Scene((*found, Detection(mask(40), "umbrella", 0.7)))


def test_finds_count_under_the_names_of_labels_and_others_for_nothing() -> None:
    image = Image(np.zeros((20, 60, 3), np.uint8), "k", "s")
    truth = LabelledMask(mask(0), "kurta"), LabelledMask(mask(20), "saree")
    evaluated = evaluate_detector(
        Sees(), [HeldOut(1, 2, image, CompactMasks(truth))], CONFIG, labels=CONFIG.label_values, min_score=0.25
    )
    scores = evaluated.scores
    assert [one.class_name for one in evaluated.detections[0].detections] == ["kurta", "saree"]
    assert [len(matched.right[0]) for matched in evaluated.matches.values()] == [1, 1]
    assert (scores.mask_map, scores.precision, scores.recall) == (1.0, 1.0, 1.0)
    assert scores.ms_an_image is not None


class Reader:
    """Finds every phrase in the left third of the picture that it is given."""

    name = "reader"

    def __init__(self) -> None:
        self.seen: list[tuple[int, int]] = []

    def segment(self, image: Photo, prompt: Prompt) -> list[Segment]:
        raise AssertionError("It is asked for words alone.")

    def find_words(self, image: Photo, phrases: Sequence[str], *, min_score: float) -> list[Segment]:
        self.seen.append(image.size_wh)
        width, height = image.size_wh
        drawn = np.zeros((height, width), bool)
        drawn[:, : width // 3] = True
        return [Segment(drawn, 0.9, words) for words in phrases]


def test_words_see_the_photograph_as_they_do_in_production() -> None:
    drawn = np.zeros((20, 60), bool)
    drawn[:, :20] = True
    reduced, whole = (Image(np.zeros((side, 3 * side, 3), np.uint8), "k", "s") for side in (20, 200))
    truth = CompactMasks(LabelledMask(drawn, label) for label in CONFIG.label_values)

    def gone() -> Image:
        raise ImageError("It is gone.")

    reader = Reader()
    evaluated = evaluate_detector(
        WordsDetector(reader, CONFIG),
        [HeldOut(1, 2, reduced, truth, lambda: whole), HeldOut(3, 4, reduced, truth, gone)],
        CONFIG,
        labels=CONFIG.label_values,
        min_score=0.25,
    )
    assert reader.seen == [(600, 200), (60, 20)]
    assert {found.mask.shape for scene in evaluated.detections for found in scene.detections} == {(20, 60)}
    assert evaluated.scores.mask_map == 1.0


class SeesAll:
    """Finds one saree that fills the image, and remembers which sizes it was shown."""

    def __init__(self) -> None:
        self.shown_wh: list[tuple[int, int]] = []

    def detect(self, images: Iterable[Photo], *, min_score: float) -> Iterator[Scene]:
        for image in images:
            self.shown_wh.append(image.size_wh)
            yield Scene((Detection(np.ones(image.size_wh[::-1], bool), "saree", 0.9),))


def test_a_model_sees_images_of_its_own_size_and_is_compared_at_that_of_the_ground_truth() -> None:
    image, smaller = (Image(np.zeros((20 * n, 60 * n, 3), np.uint8), "k", "s") for n in (2, 1))
    truth = (LabelledMask(np.ones((40, 120), bool), "saree"),)
    detector = SeesAll()
    evaluated = evaluate_detector(
        detector,
        [HeldOut(1, 2, image, CompactMasks(truth))],
        CONFIG,
        labels=CONFIG.label_values,
        min_score=0.25,
        images=[smaller],
    )
    # Once to be evaluated, then to be timed.
    assert detector.shown_wh == [(60, 20)] * 3
    assert evaluated.detections[0].detections[0].mask.shape == (40, 120)
    assert evaluated.scores.mask_map == 1.0
