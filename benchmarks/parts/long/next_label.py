"""How many labels the order that Label Studio's uncertainty sampling serves saves: `make bench ONLY=next_label`.

A detector that knows drawn figures meets a collection like those of the trade: most of it sarees, all else rare. Of
some labelled figures the first model is trained, then round by round more are labelled, by chance or as they would be
served (least annotated cluster first, in it the lowest image score), and the next model is trained on all of them from
the same start. Both orders are measured on the same figures that neither sees, and among which no kind is rare. Takes
about half an hour on two cores.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import count
from pathlib import Path

import numpy as np
import yaml
from rich.progress import track

from backend.compute.quiet_ultralytics import quiet_ultralytics
from backend.detector.average_precision import mask_map
from backend.detector.runtimes.network import load_network
from backend.detector.runtimes.openvino_export import export_openvino
from backend.detector.runtimes.openvino_runtime import OpenVinoRuntime, supported_precisions
from backend.detector.starter import STARTER
from backend.detector.yolo11 import Detector
from backend.domain import Image, LabelledMask
from backend.images.decode import decode_image
from backend.label_studio.label_config import parse_label_config
from backend.settings import Settings
from benchmarks.serving_order import Curve, labels_saved, mean_curve, score_and_group, served
from benchmarks.table import Row
from label_studio_config.demo.figures import LABELS, draw_figure
from label_studio_config.demo.write import write_image, yolo_line
from label_studio_config.palette_xml import palette

SEEDS = (0, 1, 2)
POOL, HELD_OUT, POOL_FROM, HELD_OUT_FROM = 240, 100, 500_000, 600_000
COMMON, COMMON_SHARE = "saree", 0.75
# One label less than the starter knows; Ultralytics takes what its class head knows of the others along.
PALETTE = LABELS[:-1]
CONFIG = parse_label_config(palette(PALETTE))
FIRST, STEP, ROUNDS = 6, 6, 6
IMAGE_SIZE_PX, BATCH, STEPS = 256, 8, 45
REPORT = Path("var/next_label.json")


@dataclass(frozen=True)
class Figures:
    """Drawn figures on disk, as images and with their truth."""

    paths: tuple[Path, ...]
    images: tuple[Image, ...]
    truth: tuple[tuple[LabelledMask, ...], ...]


def measure() -> list[Row]:
    """Labels that each order needs for the best mask mAP that both reach."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        pool = draw(work / "images", collection())
        held_out = draw(work / "images", range(HELD_OUT_FROM, HELD_OUT_FROM + HELD_OUT))
        curves = [
            learn(order, seed, pool, held_out, work)
            for seed in track(SEEDS, "next label")
            for order in ("by chance", "as served")
        ]
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps([asdict(curve) for curve in curves], indent=1) + "\n")
    return [saving(seed, curves) for seed in SEEDS] + [saving(None, curves)]


def collection() -> list[int]:
    """Seeds of the figures to be labelled, three quarters of them sarees."""
    common: list[int] = []
    rare: list[int] = []
    seeds = count(POOL_FROM)
    while len(common) < POOL * COMMON_SHARE or len(rare) < POOL * (1 - COMMON_SHARE):
        seed = next(seeds)
        (common if COMMON in {instance.label for instance in draw_figure(seed).instances} else rare).append(seed)
    return common[: int(POOL * COMMON_SHARE)] + rare[: POOL - int(POOL * COMMON_SHARE)]


def draw(folder: Path, seeds: Sequence[int]) -> Figures:
    """Draws figures, with YOLO labels beside them where Ultralytics looks for them."""
    folder.mkdir(parents=True, exist_ok=True)
    labels = folder.with_name("labels")
    labels.mkdir(exist_ok=True)
    paths, images, truth = [], [], []
    for seed in seeds:
        paths.append(write_image(seed, folder))
        garments_there = truth_of(seed)
        lines = [yolo_line(PALETTE.index(garment.label), garment.mask) for garment in garments_there]
        (labels / f"{paths[-1].stem}.txt").write_text("\n".join(lines) + "\n")
        images.append(decode_image(paths[-1].read_bytes(), source=paths[-1].name, max_pixels=10**8))
        truth.append(garments_there)
    return Figures(tuple(paths), tuple(images), tuple(truth))


def truth_of(seed: int) -> tuple[LabelledMask, ...]:
    """The garments of a figure that have a label in the palette."""
    return tuple(
        LabelledMask(instance.mask, instance.label)
        for instance in draw_figure(seed).instances
        if instance.label in PALETTE
    )


def learn(order: str, seed: int, pool: Figures, held_out: Figures, work: Path) -> Curve:
    """Labels, trains and measures, round by round."""
    rng = np.random.default_rng(seed)
    labelled = [int(number) for number in rng.permutation(len(pool.paths))[:FIRST]]
    counts, maps = [], []
    for number in range(ROUNDS):
        detector = train([pool.paths[index] for index in labelled], seed, work)
        found = detector.detect(held_out.images, min_score=0.05)
        maps.append(mask_map(held_out.truth, [scene.detections for scene in found]) or 0.0)
        counts.append(len(labelled))
        if number < ROUNDS - 1:
            rest = [index for index in range(len(pool.paths)) if index not in labelled]
            if order == "by chance":
                labelled += [int(index) for index in rng.permutation(rest)[:STEP]]
            else:
                labelled += served(*score_and_group(detector, pool.images, CONFIG, Settings()), labelled, STEP)
    return Curve(order, seed, tuple(counts), tuple(maps))


def train(paths: Sequence[Path], seed: int, work: Path) -> Detector:
    """A model of the labelled figures, from the starter, after the same number of steps however many they are."""
    (work / "train.txt").write_text("\n".join(str(path) for path in paths))
    layout = {"path": str(work), "train": "train.txt", "val": "train.txt", "names": dict(enumerate(PALETTE))}
    (work / "data.yaml").write_text(yaml.safe_dump(layout))
    model = quiet_ultralytics().YOLO(STARTER, task="segment")
    epochs = max(round(STEPS * BATCH / len(paths)), 1)
    model.train(
        data=str(work / "data.yaml"),
        epochs=epochs,
        imgsz=IMAGE_SIZE_PX,
        batch=BATCH,
        device="cpu",
        workers=0,
        project=str(work),
        name="run",
        exist_ok=True,
        plots=False,
        amp=False,
        val=False,
        seed=seed,
        verbose=False,
        mosaic=0.4,
        close_mosaic=max(epochs // 3, 1),
        scale=0.3,
        warmup_epochs=min(3.0, epochs / 4),
        patience=0,
        overlap_mask=False,
    )
    network, classes = load_network(work / "run" / "weights" / "last.pt")
    export_openvino(network, work / "model.xml")
    runtime = OpenVinoRuntime(work / "model.xml", precision=supported_precisions()[0])
    return Detector(runtime, classes=classes, image_size_px=IMAGE_SIZE_PX)


def saving(seed: int | None, curves: Sequence[Curve]) -> Row:
    """Labels that both orders need for the best that both reach, of one seed or of the mean over all."""
    name = "mean of all" if seed is None else f"seed {seed}"
    saved = labels_saved(*(mean_curve(curves, order, seed) for order in ("as served", "by chance")))
    return Row(
        f"labels until mask mAP {saved.mask_map:.3f} on drawn figures ({name}): as served / by chance",
        saved.ours,
        saved.other,
        saved.other / saved.ours,
        "labels",
        HELD_OUT,
    )
