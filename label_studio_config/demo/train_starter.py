"""Trains the starter model on drawn figures, from random weights: `python -m label_studio_config.demo.train_starter`.

The model knows only drawn figures; it is not a model for photographs.
"""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import torch
import typer

from backend.compute.quiet_ultralytics import quiet_ultralytics
from label_studio_config.demo.figures import LABELS
from label_studio_config.demo.write import write_yolo_dataset

logger = logging.getLogger(__name__)

# First seeds of the training and the validation figures; the demo project and the tests use other seeds.
TRAIN_FROM = 100_000
VAL_FROM = 900_000
OUT = Path(__file__).parent.parent / "weights" / "starter.pt"


def train_starter(
    *,
    images: int = 1500,
    val_images: int = 150,
    epochs: int = 24,
    image_size_px: int = 256,
    batch: int = 16,
    device: str = "cpu",
    work: Path = Path("var/starter"),
    out: Path = OUT,
) -> None:
    """Draws the figures, trains, validates on figures of other seeds, writes half-precision weights and their facts.

    The figures and the run stay in `work`. The weights go to `out`, and the facts (seeds, sizes, mask mAP50, and
    mAP50-95 by class) to `out` with the suffix `.json`.
    """
    ultralytics = quiet_ultralytics()
    data = write_yolo_dataset(
        work / "figures",
        train_seeds=range(TRAIN_FROM, TRAIN_FROM + images),
        val_seeds=range(VAL_FROM, VAL_FROM + val_images),
    )
    logger.info("Drew %d figures", images + val_images)
    # Drawn figures vary enough already: strong mosaic and scaling only slow the start from random weights.
    ultralytics.YOLO("yolo11n-seg.yaml").train(
        data=str(data),
        epochs=epochs,
        imgsz=image_size_px,
        batch=batch,
        device=device,
        project=str(work.resolve()),
        name="run",
        exist_ok=True,
        pretrained=False,
        amp=False,
        plots=False,
        cache="ram",
        seed=0,
        workers=2,
        patience=0,
        cos_lr=True,
        warmup_epochs=1,
        mosaic=0.4,
        close_mosaic=max(1, epochs // 3),
        scale=0.3,
        erasing=0.0,
        overlap_mask=False,
    )
    best = work / "run" / "weights" / "best.pt"
    metrics = ultralytics.YOLO(best).val(
        data=str(data),
        imgsz=image_size_px,
        device=device,
        plots=False,
        project=str(work.resolve()),
        name="val",
        exist_ok=True,
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(best, out)
    facts = {
        "trained_on": "figures drawn by label_studio_config.demo; no photograph",
        "train_seeds": [TRAIN_FROM, TRAIN_FROM + images],
        "val_seeds": [VAL_FROM, VAL_FROM + val_images],
        "epochs": epochs,
        "image_size_px": image_size_px,
        "classes": list(LABELS),
        "mask_map50": round(float(metrics.seg.map50), 4),
        "mask_map50_95": round(float(metrics.seg.map), 4),
        "mask_map50_95_by_class": {
            LABELS[int(number)]: round(float(metrics.seg.maps[int(number)]), 4) for number in metrics.seg.ap_class_index
        },
        "torch": torch.__version__,
        "ultralytics": ultralytics.__version__,
    }
    out.with_suffix(".json").write_text(json.dumps(facts, indent=1) + "\n")
    logger.info(
        "Mask mAP50 %.3f, mAP50-95 %.3f; %d bytes in %s",
        facts["mask_map50"],
        facts["mask_map50_95"],
        out.stat().st_size,
        out,
    )


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    typer.run(train_starter)
