"""Builds Ultralytics' training arguments: Drape's choices, made for few images, and the user's `TRAIN_ARGS`."""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Any

from backend.compute.devices import pick_device
from backend.compute.quiet_ultralytics import quiet_ultralytics
from backend.errors import ModelError, first_line
from backend.settings import Settings

# Arguments that `TRAIN_ARGS` may not set: each has its own setting, named here, or Drape relies on its value ('').
RESERVED_ARGS = {
    "batch": "TRAIN_BATCH",
    "data": "",
    "device": "DEVICE_TRAIN",
    "epochs": "TRAIN_EPOCHS",
    "exist_ok": "",
    "imgsz": "TRAIN_IMAGE_SIZE_PX",
    "model": "YOLO11_BASE",
    "mode": "",
    "name": "",
    "patience": "TRAIN_PATIENCE",
    "project": "",
    "resume": "",
    "save": "",
    "save_dir": "",
    "task": "",
    "time": "TRAIN_MAX_MINUTES",
    "val": "",
}
# Ultralytics warms up for three epochs and at least 100 steps, which is too long for few images and epochs.
MAX_WARMUP_EPOCHS = 3.0
# The last epochs train on whole images, as the detector will see them: a tenth of Ultralytics' usual hundred epochs.
MAX_EPOCHS_WITHOUT_MOSAIC = 10
MAX_LOADER_WORKERS = 4
# Two changes for few images. First, `nbs`: Ultralytics accumulates gradients over 64 images before it updates weights,
# which with 24 images is once in three epochs. Second, frozen first layers: what they know of cloth is worth more than
# what few images can teach them. Measured on drawn figures, another palette, 20 epochs, mask mAP50-95: with 30 images
# 0.08 without both, 0.29 with the first, 0.34 with both; with 100 images 0.45 with the first, 0.49 with both.
FEW_IMAGES = 500
FROZEN_LAYERS, FROZEN_BELOW = 10, 200


def training_args(
    settings: Settings, *, data: Path, image_size_px: int, folder: Path, images: int, pretrained: bool
) -> dict[str, Any]:
    """Returns the arguments of `YOLO.train`, except the device.

    Args:
        folder: the folder that Ultralytics writes into.
        images: the number of training images.
        pretrained: whether training starts from trained weights, not random ones.

    Raises:
        ModelError: `TRAIN_ARGS` has an argument that Ultralytics does not know, or that is in `RESERVED_ARGS`.
    """
    on_cpu = pick_device(settings.device) == "cpu"
    chosen = {
        "data": str(data),
        "epochs": settings.train_epochs,
        "imgsz": image_size_px,
        "batch": settings.train_batch,
        "patience": settings.train_patience,
        "project": str(folder.parent.resolve()),
        "name": folder.name,
        "exist_ok": True,
        "warmup_epochs": min(MAX_WARMUP_EPOCHS, settings.train_epochs / 4),
        "close_mosaic": min(MAX_EPOCHS_WITHOUT_MOSAIC, settings.train_epochs // 4),
        "plots": False,
        "amp": False,
        "seed": 0,
        "deterministic": True,
        "verbose": False,
        "val": True,
        "workers": 0 if on_cpu else min(MAX_LOADER_WORKERS, os.cpu_count() or 1),
    }
    if images < FEW_IMAGES:
        chosen["nbs"] = settings.train_batch
    if pretrained and images < FROZEN_BELOW:
        chosen["freeze"] = FROZEN_LAYERS
    return {**chosen, **_user_args(settings.train_args)}


def _user_args(text: str) -> dict[str, Any]:
    """Parses and checks `TRAIN_ARGS` with Ultralytics' own functions."""
    quiet_ultralytics()
    from ultralytics.cfg import get_cfg, parse_key_value_pair

    try:
        pairs = dict(parse_key_value_pair(pair) for pair in shlex.split(text))
        get_cfg(overrides=pairs)
    except (ValueError, TypeError, SyntaxError, AssertionError) as e:
        raise ModelError(f"TRAIN_ARGS='{text}' cannot be read: {first_line(e)}") from e
    for name in pairs.keys() & RESERVED_ARGS.keys():
        remedy = f"set {RESERVED_ARGS[name]} instead" if RESERVED_ARGS[name] else "Drape sets it"
        raise ModelError(f"TRAIN_ARGS='{text}' contains '{name}': {remedy}.")
    return pairs
