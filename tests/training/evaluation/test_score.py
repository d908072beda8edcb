"""A model's figures: cases that are counted by hand, and COCO's own tools on the same finds."""

from __future__ import annotations

import importlib
import importlib.util
import json
import tracemalloc
from collections.abc import Sequence
from dataclasses import astuple
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from faster_coco_eval import mask as rle
from scipy.ndimage import binary_erosion

from backend.domain import Detection, LabelledMask, Mask, Scene
from backend.registry.scores import Scores
from label_studio_config.demo.figures import LABELS, draw_figure
from training.evaluation.compact_scenes import CompactMasks, CompactScenes
from training.evaluation.score import compute_scores

# Wide, so that a mix-up of sides shows; 2 % of its diagonal is less than a pixel: borders are one pixel wide.
SIZE_WH = (20, 10)
# Garments, finds, width and height.
Picture = tuple[list[LabelledMask], list[Detection], tuple[int, int]]


def block(left: int, top: int, right: int, bottom: int) -> Mask:
    mask = np.zeros(SIZE_WH[::-1], bool)
    mask[top:bottom, left:right] = True
    return mask


# Ten wide and six high: 60 pixels, of which 28 are border.
BLOCK = block(3, 2, 13, 8)
INSIDE = block(4, 3, 12, 7)
# At the image's left, upper and lower border: 110 pixels, of which 11 + 11 + 8 + 8 are border.
AT_BORDER = block(0, 0, 11, 10)
SAREE = LabelledMask(BLOCK, "saree")


def score(
    truth: Sequence[Sequence[LabelledMask]], found: Sequence[Sequence[Detection]], labels: Sequence[str] = ()
) -> Scores:
    return compute_scores(
        [CompactMasks(masks) for masks in truth],
        CompactScenes(Scene(tuple(ones)) for ones in found),
        sizes_wh=[SIZE_WH] * len(truth),
        labels=labels or ("blouse", "saree"),
        min_score=0.25,
        ms_an_image=12.5,
    )[0]


# Truth and finds of one image; of the saree: box AP50-95, AP50, mask AP50-95, AP50, precision, recall, IoU, accuracy,
# Dice and boundary IoU.
CASES = {
    "perfect": ([SAREE], [Detection(BLOCK, "saree", 0.9)], (1, 1, 1, 1, 1, 1, 1, 1, 1, 1)),
    "nothing found": ([SAREE], [], (0, 0, 0, 0, None, 0, 0, 0, 0, 0)),
    "nothing there": ([], [Detection(BLOCK, "saree", 0.9)], (*[None] * 4, 0, *[None] * 5)),
    "neither": ([], [], (None,) * 10),
    # 48 of 72 pixels: right at four of ten thresholds. Borders share eight pixels above and below.
    "two to the right": (
        [SAREE],
        [Detection(block(5, 2, 15, 8), "saree", 0.9)],
        (0.4, 1, 0.4, 1, 1, 1, 48 / 72, 48 / 60, 96 / 120, 16 / 40),
    ),
    # 50 of 70 pixels: right at five thresholds. Borders share five pixels at each side.
    "one down": (
        [SAREE],
        [Detection(block(3, 3, 13, 9), "saree", 0.9)],
        (0.5, 1, 0.5, 1, 1, 1, 50 / 70, 50 / 60, 100 / 120, 10 / 46),
    ),
    # 100 of 110 pixels: right at nine thresholds. The image's border is theirs: 10 + 10 + 8 of 38 + 36 are shared.
    "at the image's border": (
        [LabelledMask(AT_BORDER, "saree")],
        [Detection(block(0, 0, 10, 10), "saree", 0.9)],
        (0.9, 1, 0.9, 1, 1, 1, 100 / 110, 100 / 110, 200 / 210, 28 / 46),
    ),
    # The border alone: the same box, 28 of 60 pixels, and all of that is border.
    "hollow": (
        [SAREE],
        [Detection(BLOCK & ~INSIDE, "saree", 0.9)],
        (1, 1, 0, 0, 0, 0, 28 / 60, 28 / 60, 56 / 88, 1),
    ),
    "wrong label": ([SAREE], [Detection(BLOCK, "blouse", 0.9)], (0, 0, 0, 0, None, 0, 0, 0, 0, 0)),
    "label of another project": (
        [SAREE, LabelledMask(BLOCK, "hat")],
        [Detection(BLOCK, "saree", 0.9), Detection(BLOCK, "hat", 1.0)],
        (1, 1, 1, 1, 1, 1, 1, 1, 1, 1),
    ),
    # Average precision counts it, people do not see it.
    "unsure": ([SAREE], [Detection(BLOCK, "saree", 0.2)], (1, 1, 1, 1, None, 0, 0, 0, 0, 0)),
    # Found again by a less sure one, which takes no free garment.
    "twice": (
        [SAREE],
        [Detection(BLOCK, "saree", 0.9), Detection(BLOCK, "saree", 0.3)],
        (1, 1, 1, 1, 0.5, 1, 1, 1, 1, 1),
    ),
    # The surer half (IoU 0.5) takes the garment; the whole one is false then, at IoU 0.5, and right at the others,
    # where half the precision is left. Of 60 pixels all are found.
    "half before whole": (
        [SAREE],
        [Detection(block(3, 2, 8, 8), "saree", 0.9), Detection(BLOCK, "saree", 0.6)],
        (0.55, 1, 0.55, 1, 0.5, 1, 1, 1, 1, 1),
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_labels_figures(case: str) -> None:
    truth, found, expected = CASES[case]
    saree = next(one for one in score([truth], [found]).labels if one.label == "saree")
    assert astuple(saree)[2:] == pytest.approx(expected, abs=1e-9)
    assert saree.instances == sum(one.label == "saree" for one in truth)


def test_a_label_that_is_only_found_has_a_precision_and_counts_against_the_others() -> None:
    scores = score([[SAREE]], [[Detection(BLOCK, "blouse", 0.9)]])
    assert astuple(scores.labels[0]) == ("blouse", 0, *[None] * 4, 0.0, *[None] * 5)
    assert (scores.precision, scores.recall, scores.mask_map) == (0.0, 0.0, 0.0)
    # Of 200 pixels the 140 of the background are right.
    assert scores.overall_accuracy == 140 / 200
    assert (scores.miou, scores.mean_accuracy, scores.dice) == (0.5, 0.5, 0.5)


def test_means_are_over_labels_and_of_pixels_over_the_background_too() -> None:
    small = block(15, 0, 20, 2)
    truth = [[SAREE, LabelledMask(small, "blouse")], []]
    # The blouse is found; the saree two pixels beside; in the empty image ten pixels of a blouse.
    found = [
        [Detection(small, "blouse", 0.9), Detection(block(5, 2, 15, 8), "saree", 0.8)],
        [Detection(small, "blouse", 0.3)],
    ]
    scores = score(truth, found, ("blouse", "saree", "belt"))
    assert (scores.images, scores.ms_an_image) == (2, 12.5)
    assert [one.label for one in scores.labels] == ["blouse", "saree", "belt"]
    # Background: 400 - 70 there, 400 - 80 found, 118 and 190 in both.
    assert scores.overall_accuracy == pytest.approx((118 + 190 + 10 + 48) / 400)
    assert scores.miou == pytest.approx((308 / 342 + 10 / 20 + 48 / 72) / 3)
    assert scores.mean_accuracy == pytest.approx((308 / 330 + 1 + 0.8) / 3)
    assert scores.dice == pytest.approx((616 / 650 + 20 / 30 + 0.8) / 3)
    # All ten pixels of a blouse are border.
    assert scores.boundary_iou == pytest.approx((10 / 20 + 16 / 40) / 2)
    assert (scores.precision, scores.recall) == (0.75, 1.0)
    assert (scores.mask_map, scores.mask_map50, scores.box_map, scores.box_map50) == pytest.approx((0.7, 1, 0.7, 1))


# Which of two finds is surer, and what that makes of the IoU of the blouse and of the saree below it.
@pytest.mark.parametrize(("surer", "blouse", "saree"), [("blouse", 1.0, 1.0), ("saree", 0.0, 28 / 60)])
def test_the_upper_layer_hides_the_lower(surer: str, blouse: float, saree: float) -> None:
    truth = [SAREE, LabelledMask(INSIDE, "blouse")]
    found = [
        Detection(mask, label, 0.9 if label == surer else 0.6) for mask, label in ((BLOCK, "saree"), (INSIDE, "blouse"))
    ]
    scores = score([truth], [found])
    assert [one.iou for one in scores.labels] == pytest.approx([blouse, saree])
    # As instances both are whole.
    assert scores.mask_map == pytest.approx(1.0)


def test_without_images_nothing_is_defined() -> None:
    scores = compute_scores([], CompactScenes([]), sizes_wh=[], labels=("saree",), min_score=0.25, ms_an_image=None)[0]
    assert astuple(scores) == (0, *[None] * 12, (("saree", 0, *[None] * 10),))


def noisy(seed: int) -> Picture:
    """A figure's garments, and what a poor model finds: moved, missed, seen twice, under wrong labels."""
    rng = np.random.default_rng(seed)
    figure = draw_figure(seed)
    found = []
    for instance in figure.instances:
        for _ in range(int(rng.choice([0, 1, 2], p=[0.15, 0.6, 0.25]))):
            moved = np.roll(instance.mask, tuple(rng.integers(-12, 13, 2)), (0, 1))
            moved[:, : int(rng.integers(0, 200))] &= rng.random() < 0.5
            label = str(rng.choice(LABELS)) if rng.random() < 0.2 else instance.label
            if moved.any():
                found.append(Detection(moved, label, float(rng.uniform(0.02, 1))))
    truth = [LabelledMask(one.mask, one.label) for one in figure.instances]
    height, width = figure.pixels.shape[:2]
    return truth, found, (width, height)


def as_coco(number: int, label: str, mask: Mask) -> dict[str, Any]:
    """An annotation as COCO's files have it; its box is counted out of the mask."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    runs = rle.encode(np.asfortranarray(mask.astype(np.uint8)))
    left, top = int(columns[0]), int(rows[0])
    return {
        "image_id": number,
        "category_id": 10 * (LABELS.index(label) + 1),
        "area": int(mask.sum()),
        "bbox": [left, top, int(columns[-1]) + 1 - left, int(rows[-1]) + 1 - top],
        "segmentation": {"size": list(mask.shape), "counts": runs["counts"].decode()},
    }


@pytest.fixture(scope="module")
def pictures() -> list[Picture]:
    return [noisy(seed) for seed in range(500, 512)]


@pytest.fixture(scope="module")
def scored(pictures: list[Picture]) -> Scores:
    truth, found, sizes_wh = zip(*pictures, strict=True)
    return compute_scores(
        [CompactMasks(masks) for masks in truth],
        CompactScenes(Scene(tuple(ones)) for ones in found),
        sizes_wh=sizes_wh,
        labels=LABELS,
        min_score=0.25,
        ms_an_image=None,
    )[0]


# COCO's own tool too, where somebody has it installed.
TOOLS = ["faster_coco_eval", *(["pycocotools"] if importlib.util.find_spec("pycocotools") else [])]


@pytest.mark.slow
@pytest.mark.parametrize("tool", TOOLS)
@pytest.mark.parametrize("of", ["bbox", "segm"])
def test_average_precision_is_what_cocos_tools_say_of_files(
    of: str,
    tool: str,
    pictures: list[Picture],
    scored: Scores,
    tmp_path: Path,
) -> None:
    annotations = [as_coco(image, one.label, one.mask) for image, (truth, _, _) in enumerate(pictures) for one in truth]
    results = [
        {**as_coco(image, one.class_name, one.mask), "score": one.score}
        for image, (_, found, _) in enumerate(pictures)
        for one in found
    ]
    files = {
        "truth.json": {
            "images": [
                {"id": image, "width": width, "height": height}
                for image, (_, _, (width, height)) in enumerate(pictures)
            ],
            "categories": [{"id": 10 * (number + 1), "name": label} for number, label in enumerate(LABELS)],
            "annotations": [{"id": number, "iscrowd": 0, **one} for number, one in enumerate(annotations, start=1)],
        },
        "found.json": results,
    }
    for name, content in files.items():
        (tmp_path / name).write_text(json.dumps(content))
    package = importlib.import_module(tool if tool == "faster_coco_eval" else "pycocotools.coco")
    expected = package.COCO(str(tmp_path / "truth.json"))
    seen = expected.loadRes(str(tmp_path / "found.json"))
    if tool == "faster_coco_eval":
        evaluation = package.COCOeval_faster(expected, seen, of)
    else:
        evaluation = importlib.import_module("pycocotools.cocoeval").COCOeval(expected, seen, of)
    for step in (evaluation.evaluate, evaluation.accumulate, evaluation.summarize):
        step()
    ours = (scored.box_map, scored.box_map50) if of == "bbox" else (scored.mask_map, scored.mask_map50)
    assert ours == pytest.approx(tuple(evaluation.stats[:2]), abs=0.002)
    # The noise is such that it says something.
    assert 0.1 < evaluation.stats[0] < 0.8 and evaluation.stats[0] + 0.1 < evaluation.stats[1]
    for number, one in enumerate(scored.labels):
        precision = evaluation.eval["precision"][:, :, number, 0, -1]
        theirs = (precision.mean(), precision[0].mean()) if precision.max() >= 0 else (None, None)
        figures = (one.box_map, one.box_map50) if of == "bbox" else (one.mask_map, one.mask_map50)
        assert figures == pytest.approx(theirs, abs=0.002), one.label


def test_borders_are_those_of_the_paper(
    pictures: list[Picture],
) -> None:
    truth, found, size_wh = next(picture for picture in pictures if len(picture[0]) > 1 and picture[1])
    depth = round(0.02 * float(np.hypot(*size_wh)))
    assert depth > 10
    label, wanted = truth[0].label, truth[0].mask
    seen = found[0].mask
    borders = [
        mask & ~binary_erosion(mask, np.ones((3, 3), bool), iterations=depth, border_value=0) for mask in (wanted, seen)
    ]
    scores = compute_scores(
        [CompactMasks([truth[0]])],
        CompactScenes([Scene((Detection(seen, label, 0.9),))]),
        sizes_wh=[size_wh],
        labels=[label],
        min_score=0.25,
        ms_an_image=None,
    )[0]
    expected = np.count_nonzero(borders[0] & borders[1]) / np.count_nonzero(borders[0] | borders[1])
    assert scores.boundary_iou == pytest.approx(expected) and 0 < expected < 1


def test_in_a_narrow_image_all_is_border() -> None:
    whole, half = np.ones((3, 112), bool), np.zeros((3, 112), bool)
    half[:, :56] = True
    scores = compute_scores(
        [CompactMasks([LabelledMask(whole, "saree")])],
        CompactScenes([Scene((Detection(half, "saree", 0.9),))]),
        sizes_wh=[(112, 3)],
        labels=["saree"],
        min_score=0.25,
        ms_an_image=None,
    )[0]
    assert scores.boundary_iou == 0.5


def test_the_masks_of_one_image_at_a_time_are_in_memory() -> None:
    """Two thousand held-out images have some ten thousand garments, of 300 kB each."""
    side = 640
    mask = np.zeros((side, side), bool)
    mask[100:300, 100:300] = True
    truth = [CompactMasks(LabelledMask(mask, label) for label in LABELS[:4]) for _ in range(30)]
    found = CompactScenes(Scene(tuple(Detection(mask, label, 0.9) for label in LABELS[:4])) for _ in range(30))
    tracemalloc.start()
    try:
        scores, _ = compute_scores(
            truth, found, sizes_wh=[(side, side)] * 30, labels=LABELS[:4], min_score=0.25, ms_an_image=None
        )
        assert tracemalloc.get_traced_memory()[1] < 60 * mask.size
    finally:
        tracemalloc.stop()
    assert (scores.mask_map, scores.recall) == (1.0, 1.0)
