"""YOLO11-seg over whole images."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Sequence
from pickle import UnpicklingError
from typing import Protocol

import numpy as np

from backend.domain import Detection, Image
from backend.errors import ModelError
from backend.registry import Registry, Version, check_weights
from backend.settings import Settings
from backend.ultralytics_quiet import quiet_ultralytics

logger = logging.getLogger(__name__)

MAX_DETECTIONS = 100
LOADED_DETECTORS = 4


def pick_device(device: str) -> str:
    """`auto` becomes the best device present, as Ultralytics names it; anything else stays."""
    if device != "auto":
        return device
    import torch

    if torch.cuda.is_available():
        return "cuda:0"
    return "mps" if torch.backends.mps.is_available() else "cpu"


class ImageDetector(Protocol):
    """What finds the garments of whole images."""

    def detect(self, images: Sequence[Image], *, min_score: float) -> list[list[Detection]]:
        """Garments of each image, the most certain first, with masks `bool (H, W)` at the image's own size.

        Args:
            min_score: confidence in `[0, 1]` from which on a detection counts.
        """


class Detector:
    """One loaded model; answers one caller at a time."""

    def __init__(self, version: Version, *, device: str) -> None:
        """Loads the version's weights.

        Raises:
            ModelError: they are missing, changed, or do not load.
        """
        check_weights(version)
        try:
            self._model = quiet_ultralytics().YOLO(version.weights, task="segment")
        except (OSError, RuntimeError, ValueError, AttributeError, KeyError, EOFError, TypeError, UnpicklingError) as e:
            raise ModelError(f"Model version '{version.name}' does not load: {e}") from e
        self._device = device
        self._image_size_px = version.image_size_px
        # Ultralytics keeps the batch in its predictor: two threads in one would swap their images.
        self._lock = threading.Lock()

    def detect(self, images: Sequence[Image], *, min_score: float) -> list[list[Detection]]:
        """Garments of each image, the most certain first, with masks `bool (H, W)` at the image's own size.

        Args:
            min_score: confidence in `[0, 1]` from which on a detection counts; Ultralytics' own default does not apply.
        """
        if not images:
            return []
        # Ultralytics takes arrays as BGR.
        pixels = [np.ascontiguousarray(image.pixels[..., ::-1]) for image in images]
        with self._lock:
            results = self._model.predict(
                pixels, imgsz=self._image_size_px, conf=max(min_score, 1e-3), retina_masks=True, device=self._device,
                max_det=MAX_DETECTIONS, verbose=False,
            )  # fmt: skip
        return [_detections(result) for result in results]


def _detections(result: object) -> list[Detection]:
    masks, boxes, names = (getattr(result, name) for name in ("masks", "boxes", "names"))
    if masks is None or boxes is None:
        return []
    found = [
        Detection(mask=mask > 0.5, class_name=str(names[int(number)]), score=float(score))
        for mask, number, score in zip(
            masks.data.cpu().numpy(), boxes.cls.cpu().numpy(), boxes.conf.cpu().numpy(), strict=True
        )
    ]
    return sorted((one for one in found if one.mask.any()), key=lambda one: -one.score)


class Detectors:
    """The loaded champions, the least recently used of which goes when there are too many."""

    def __init__(self, registry: Registry, settings: Settings) -> None:
        self._registry = registry
        self._settings = settings
        self._loaded: OrderedDict[str, Detector] = OrderedDict()
        self._lock = threading.Lock()

    def for_project(self, project_id: int) -> tuple[Detector, Version] | None:
        """The project's current detector, loaded; None where it has no model yet.

        Raises:
            ModelError: its weights are missing, changed, or do not load.
        """
        version = self._registry.champion(project_id)
        if version is None:
            return None
        key = f"{project_id}/{version.name}"
        with self._lock:
            if key not in self._loaded:
                logger.info("Loading model version %s of project %s", version.name, project_id)
                self._loaded[key] = Detector(version, device=pick_device(self._settings.device))
            self._loaded.move_to_end(key)
            while len(self._loaded) > LOADED_DETECTORS:
                self._loaded.popitem(last=False)
            return self._loaded[key], version
