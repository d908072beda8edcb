"""SAM 2.1 and MobileSAM through Ultralytics: an image is encoded once, each prompt then runs only the decoder."""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from backend.detector import pick_device
from backend.domain import Image, Prompt, Segment
from backend.errors import ModelError, PromptError
from backend.ultralytics_quiet import quiet_ultralytics

logger = logging.getLogger(__name__)

KEPT_EMBEDDINGS = 32
INPUT_SIZE_PX = 1024


class SamSegmenter:
    """One loaded SAM, with the embeddings of the images that were used last."""

    reads_words = False

    def __init__(self, predictor: Any, *, name: str) -> None:
        """`predictor` is an Ultralytics SAM predictor whose model is set up."""
        self.name = name
        self._predictor = predictor
        self._embeddings: OrderedDict[str, Any] = OrderedDict()
        # Ultralytics' predictor holds the image it encodes: one thread in it at a time.
        self._lock = threading.Lock()

    def segment(self, image: Image, prompt: Prompt) -> list[Segment]:
        """Masks `bool (H, W)`, best first; of one point alone, SAM's several readings; see `Segmenter`.

        Raises:
            PromptError: there is no point and no box, or several boxes come together with points.
        """
        if not (prompt.points or prompt.boxes):
            raise PromptError("Click on the garment or draw a box.")
        if len(prompt.boxes) > 1:
            raise PromptError("One box at a time: accept or delete the first.")
        points = [[[point.x, point.y] for point in prompt.points]] if prompt.points else None
        labels = [[int(point.positive) for point in prompt.points]] if prompt.points else None
        boxes = [[box.x_min, box.y_min, box.x_max, box.y_max] for box in prompt.boxes] or None
        # One click is ambiguous (the border, the pallu, the saree): SAM's three readings; more prompts mean one thing.
        ambiguous = len(prompt.points) == 1 and not prompt.boxes
        with self._lock:
            masks, found = self._predictor.inference_features(
                self._embedding(image), src_shape=image.pixels.shape[:2], dst_shape=(INPUT_SIZE_PX, INPUT_SIZE_PX),
                bboxes=boxes, points=points, labels=labels, multimask_output=ambiguous,
            )  # fmt: skip
        if masks is None:
            return []
        scores = np.clip(found[:, 4].float().cpu().numpy(), 0, 1)
        segments = [
            Segment(mask=mask, score=float(score)) for mask, score in zip(masks.cpu().numpy(), scores, strict=True)
        ]
        return sorted((segment for segment in segments if segment.mask.any()), key=lambda segment: -segment.score)

    def _embedding(self, image: Image) -> Any:
        if image.key not in self._embeddings:
            # Ultralytics takes arrays as BGR.
            self._predictor.set_image(np.ascontiguousarray(image.pixels[..., ::-1]))
            self._embeddings[image.key] = self._predictor.features
            self._predictor.reset_image()
        self._embeddings.move_to_end(image.key)
        while len(self._embeddings) > KEPT_EMBEDDINGS:
            self._embeddings.popitem(last=False)
        return self._embeddings[image.key]


def load_sam(weights: str, *, device: str) -> SamSegmenter:
    """Loads SAM 2.1 or MobileSAM.

    Args:
        weights: a path, or a name that Ultralytics downloads (`sam2.1_b.pt`, `mobile_sam.pt`). Ultralytics tells the
            architecture by the file's name, which must end in one of its own.

    Raises:
        ModelError: the file is not there, cannot be downloaded, or is no such model.
    """
    quiet_ultralytics()
    from ultralytics.models.sam import Predictor, SAM2Predictor

    if ("/" in weights or "\\" in weights) and not Path(weights).is_file():
        raise ModelError(f"SAM's weights are not at '{weights}' (SAM_WEIGHTS).")
    kind = SAM2Predictor if "sam2" in Path(weights).name else Predictor
    overrides = {
        "model": weights, "imgsz": INPUT_SIZE_PX, "device": pick_device(device), "conf": 0.0, "task": "segment",
        "mode": "predict", "save": False, "verbose": False,
    }  # fmt: skip
    try:
        predictor = kind(overrides=overrides)
        predictor.setup_model(verbose=False)
    except (OSError, RuntimeError, ValueError, KeyError, AttributeError, ImportError, EOFError, UnpicklingError) as e:
        raise ModelError(f"SAM does not load from '{weights}': {e}.") from e
    return SamSegmenter(predictor, name=Path(weights).stem)
