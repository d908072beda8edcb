"""What follows a training: champion and challenger on the held-out images, against each model judged by itself.

The plain way has faster-coco-eval encode each mask, evaluate masks and boxes, and decode what is compared pixel by
pixel, and lets the challenger find everything a second time for the thresholds of the gate. Both must say the same.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster
from faster_coco_eval import mask as rle

from backend.auto_accept.calibration import Calibration
from backend.detector.runtimes.network import load_network
from backend.detector.runtimes.openvino_export import export_openvino
from backend.detector.runtimes.openvino_runtime import OpenVinoRuntime
from backend.detector.starter import STARTER, starter_facts
from backend.detector.yolo11 import Detector
from backend.domain import Image, LabelledMask, Mask
from backend.errors import ModelError
from backend.label_studio.label_config import parse_label_config
from backend.settings import Settings
from benchmarks.table import Row, faster, timed
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette_xml import GARMENTS, palette
from training.auto_accept.calibrate import calibration_on
from training.evaluation.compact_scenes import MAX_DETECTIONS, CompactMasks, FoundBefore
from training.evaluation.held_out import HeldOut, store_pixels
from training.evaluation.promotion import paired_bootstrap
from training.evaluation.score import (
    MIN_CORRECT_IOU,
    MIN_EVALUATED_SCORE,
    Evaluated,
    detection_ms,
    evaluate_detector,
)
from training.metrics.matching import match
from training.metrics.pixel_metrics import PixelCounts, label_map, pixel_counts, pixel_scores

IMAGES, ROUNDS, FIRST_SEED = 60, 3, 910_000
CONFIG = parse_label_config(palette(GARMENTS))
NUMBERS = {label: number for number, label in enumerate(CONFIG.label_values, start=1)}


def measure() -> list[Row]:
    """The starter as champion and as challenger, on drawn figures."""
    settings = Settings()
    with tempfile.TemporaryDirectory() as folder:
        detector = starter_in_openvino(Path(folder))
        held_out = drawn_images(IMAGES, Path(folder))
        compare(detector, held_out, settings)
        ours = timed(lambda _: judge(detector, detector, held_out, settings), ROUNDS)
        plain = timed(lambda _: judge_plainly(detector, detector, held_out, settings), ROUNDS)
    return [faster(f"champion and challenger on {IMAGES} held-out images / each by itself", ours, plain)]


def starter_in_openvino(folder: Path) -> Detector:
    """The starter in the runtime that a CPU has."""
    network, classes = load_network(STARTER)
    export_openvino(network, folder / "starter.xml")
    runtime = OpenVinoRuntime(folder / "starter.xml", precision="f32")
    return Detector(runtime, classes=classes, image_size_px=starter_facts().image_size_px)


def drawn_images(count: int, folder: Path) -> list[HeldOut]:
    """Drawn figures whose pixels lie in a folder."""
    images = []
    for seed in range(FIRST_SEED, FIRST_SEED + count):
        figure = draw_figure(seed)
        truth = CompactMasks(LabelledMask(instance.mask, instance.label) for instance in figure.instances)
        images.append(
            HeldOut(seed, seed, store_pixels(Image(figure.pixels, str(seed), ""), folder / f"{seed}.npy"), truth)
        )
    return images


def judge(
    challenger: Detector, champion: Detector, held_out: Sequence[HeldOut], settings: Settings
) -> tuple[Evaluated, Calibration]:
    """Judges both as a training does; returns what was found of the challenger."""
    own, other = (
        evaluate_detector(model, held_out, CONFIG, labels=CONFIG.label_values, min_score=settings.model_score_threshold)
        for model in (challenger, champion)
    )
    paired_bootstrap(own.matches, other.matches)
    return own, calibration_on(held_out, FoundBefore(own.detections), CONFIG, settings)


def judge_plainly(
    challenger: Detector, champion: Detector, held_out: Sequence[HeldOut], settings: Settings
) -> tuple[dict[str, float | None], Calibration]:
    """The same without Drape's own masks, matches and bootstrap; returns the challenger's metrics and thresholds."""
    own, _ = (_evaluate_plainly(model, held_out, settings) for model in (challenger, champion))
    return own, calibration_on(held_out, challenger, CONFIG, settings)


def compare(detector: Detector, held_out: Sequence[HeldOut], settings: Settings) -> None:
    """Checks that both ways say the same.

    Raises:
        ModelError: they do not.
    """
    ours, thresholds = judge(detector, detector, held_out, settings)
    plain, plain_thresholds = judge_plainly(detector, detector, held_out, settings)
    figures = {name: getattr(ours.scores, name) for name in plain}
    same = all(np.isclose(figures[name] or 0.0, value or 0.0) for name, value in plain.items())
    if thresholds != plain_thresholds or not same:
        raise ModelError(f"Both ways of judging do not say the same: {figures}, {plain}.")


def _evaluate_plainly(detector: Detector, held_out: Sequence[HeldOut], settings: Settings) -> dict[str, float | None]:
    found, truth, counts = list[dict[str, Any]](), list[dict[str, Any]](), list[PixelCounts]()
    scenes = detector.detect((one.image for one in held_out), min_score=MIN_EVALUATED_SCORE)
    for image, (one, scene) in enumerate(zip(held_out, scenes, strict=True)):
        of_image = [
            _row(image, seen.mask, CONFIG.label_for(seen.class_name), seen.score)
            for seen in scene.detections[:MAX_DETECTIONS]
            if CONFIG.label_for(seen.class_name)
        ]
        found += of_image
        garments = list(one.truth)
        truth += [_row(image, garment.mask, garment.label, 1.0) for garment in garments]
        shown = [
            LabelledMask(rle.decode(row["segmentation"]).astype(bool), row["label"], row["score"])
            for row in of_image
            if row["score"] >= settings.model_score_threshold
        ]
        match(image, shown, garments, iou=MIN_CORRECT_IOU)
        drawn, covered = (
            label_map(((mask.mask, NUMBERS[mask.label]) for mask in masks), size_wh=one.image.size_wh)
            for masks in (garments, sorted(shown, key=lambda mask: mask.score or 0.0))
        )
        counts.append(pixel_counts(drawn, covered, labels=len(NUMBERS)))
    detection_ms([one.image for one in held_out], detector, min_score=settings.model_score_threshold)
    pixels = pixel_scores(counts, labels=len(NUMBERS))
    box_map, mask_map = (_mean_precision(truth, found, len(held_out), of) for of in ("bbox", "segm"))
    return {"box_map": box_map, "mask_map": mask_map, "overall_accuracy": pixels.overall_accuracy}


def _row(image: int, mask: Mask, label: str | None, score: float) -> dict[str, Any]:
    """A garment as COCO's tools read it."""
    runs = rle.encode(np.asfortranarray(mask.view(np.uint8)))
    return {
        "image_id": image,
        "label": label,
        "category_id": NUMBERS[label or ""],
        "iscrowd": 0,
        "score": score,
        "segmentation": runs,
        "area": float(rle.area(runs)),
        "bbox": rle.toBbox(runs).tolist(),
    }


def _mean_precision(
    truth: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]], images: int, of: Literal["bbox", "segm"]
) -> float:
    numbered = [[{"id": number, **row} for number, row in enumerate(rows, start=1)] for rows in (truth, found)]
    labels = [{"id": number, "name": label} for label, number in NUMBERS.items()]
    pictures = [{"id": image, "height": 1, "width": 1} for image in range(images)]
    coco = COCO({"images": pictures, "categories": labels, "annotations": numbered[0]})
    evaluation = COCOeval_faster(coco, coco.loadRes(numbered[1]), of, print_function=str)
    evaluation.evaluate()
    evaluation.accumulate()
    precision = np.asarray(evaluation.eval["precision"])[:, :, :, 0, -1]
    return float(precision[precision > -1].mean())
