from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np

from backend.domain import Detection, Image, LabelledMask, Scene
from backend.label_studio.label_config import parse_label_config
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

    def detect(self, images: Iterable[Image], *, min_score: float) -> Iterator[Scene]:
        for _ in images:
            found = [Detection(mask(0), "Kurti", 0.9), Detection(mask(20), "saree", 0.8)]
            yield Scene((*found, Detection(mask(40), "umbrella", 0.7)))


def test_finds_count_under_the_names_of_labels_and_others_for_nothing() -> None:
    image = Image(np.zeros((20, 60, 3), np.uint8), "k", "s")
    truth = LabelledMask(mask(0), "kurta"), LabelledMask(mask(20), "saree")
    evaluated = evaluate_detector(
        Sees(), [HeldOut(1, 2, image, truth)], CONFIG, labels=CONFIG.label_values, min_score=0.25
    )
    scores = evaluated.scores
    assert [one.class_name for one in evaluated.detections[0].detections] == ["kurta", "saree"]
    assert [len(matched.right[0]) for matched in evaluated.matches.values()] == [1, 1]
    assert (scores.mask_map, scores.precision, scores.recall) == (1.0, 1.0, 1.0)
    assert scores.ms_an_image is None
