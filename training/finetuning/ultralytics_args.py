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
from training.finetuning.schedule import plan_schedule

# Arguments that `TRAIN_ARGS` may not set: each has its own setting, named here, or Drape relies on its value ('').
RESERVED_ARGS = {
    "batch": "TRAIN_BATCH",
    "data": "",
    "device": "DEVICE_TRAIN",
    "epochs": "TRAIN_UPDATES",
    "exist_ok": "",
    "imgsz": "TRAIN_IMAGE_SIZE_PX",
    "model": "YOLO11_BASE",
    "mode": "",
    "name": "",
    "nbs": "",
    "overlap_mask": "",
    "patience": "",
    "project": "",
    "resume": "",
    "save": "",
    "save_dir": "",
    "task": "",
    "time": "TRAIN_MAX_MINUTES",
    "val": "",
}
MAX_LOADER_WORKERS = 4


def training_args(
    settings: Settings,
    *,
    data: Path,
    image_size_px: int,
    folder: Path,
    drawn: int,
    classes: int,
) -> dict[str, Any]:
    """Returns the arguments of `YOLO.train`, except the device.

    Args:
        folder: the folder that Ultralytics writes into.
        drawn: how many images an epoch draws; one that is drawn twice counts twice.
        classes: the number of classes.

    Raises:
        ModelError: `TRAIN_ARGS` has an argument that Ultralytics does not know, or that is in `RESERVED_ARGS`.
    """
    on_cpu = pick_device(settings.device) == "cpu"
    schedule = plan_schedule(
        drawn,
        batch=settings.train_batch,
        updates=settings.train_updates,
        max_epochs=settings.train_epochs,
    )
    chosen = {
        "data": str(data),
        "epochs": schedule.epochs,
        "imgsz": image_size_px,
        "batch": settings.train_batch,
        # Ultralytics would collect the gradients of 64 images before it updates weights.
        "nbs": settings.train_batch,
        # The held-out images only judge: they end no training early.
        "patience": 0,
        "project": str(folder.parent.resolve()),
        "name": folder.name,
        "exist_ok": True,
        "warmup_epochs": schedule.warmup_epochs,
        "close_mosaic": schedule.epochs_without_mosaic,
        # Otherwise a garment loses the pixels of smaller ones on top of it, in training and in evaluation.
        "overlap_mask": False,
        "plots": False,
        "amp": False,
        "seed": 0,
        "deterministic": True,
        "verbose": False,
        "val": True,
        "workers": 0 if on_cpu else min(MAX_LOADER_WORKERS, os.cpu_count() or 1),
    }
    user_args = _user_args(settings.train_args)
    if "optimizer" not in user_args:
        chosen |= _optimizer_args(classes)
    return {**chosen, **user_args}


def _optimizer_args(classes: int) -> dict[str, Any]:
    """Returns the optimiser and learning rate that Ultralytics' `optimizer=auto` chooses for a short training.

    For a long one it would choose others, and which it is would depend on how often hard examples are drawn.
    """
    return {
        "optimizer": "AdamW",
        "lr0": round(0.002 * 5 / (4 + classes), 6),
        "momentum": 0.9,
        "warmup_bias_lr": 0.0,
    }


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
