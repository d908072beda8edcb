"""SAM 2.1 and MobileSAM through Ultralytics: encodes an image once, then runs only the decoder for each prompt."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from backend.compute.quiet_ultralytics import LOAD_ERRORS, quiet_ultralytics
from backend.domain import Photo, Prompt, Segment
from backend.errors import ModelError, PromptError
from backend.segmenters.embedding_cache import EmbeddingCache, embedding_name
from backend.segmenters.embedding_files import Tensors, fingerprint
from backend.telemetry.metrics import Metrics

INPUT_SIZE_PX = 1024
CLICKS = "clicks"


class SamSegmenter:
    """One loaded SAM and its cache of embeddings."""

    def __init__(
        self, predictor: Any, *, name: str, fingerprint: str, embeddings: EmbeddingCache, metrics: Metrics
    ) -> None:
        """`predictor` is an Ultralytics SAM predictor whose model is set up; `fingerprint` changes with its weights."""
        self.name = name
        self._fingerprint = fingerprint
        self._predictor = predictor
        self._embeddings = embeddings
        self._metrics = metrics

    def segment(self, image: Photo, prompt: Prompt) -> list[Segment]:
        """Returns masks `bool (H, W)`, best first; for a single point, SAM's several readings; see `Segmenter`.

        Raises:
            PromptError: there is no point and no box, or several boxes; words alone need SAM 3.
            ImageError, LabelStudioError: the image is not encoded yet and cannot be read.
        """
        if not (prompt.points or prompt.boxes):
            raise PromptError("Click on the garment or draw a box.")
        if len(prompt.boxes) > 1:
            raise PromptError("Use one box at a time: accept or delete the first one.")
        points = [[[point.x, point.y] for point in prompt.points]] if prompt.points else None
        labels = [[int(point.positive) for point in prompt.points]] if prompt.points else None
        boxes = [[box.x_min, box.y_min, box.x_max, box.y_max] for box in prompt.boxes] or None
        # A single click is ambiguous (the border, the pallu or the saree): SAM gives three readings, else only one.
        ambiguous = len(prompt.points) == 1 and not prompt.boxes
        features = self._embedding(image)
        with self._metrics.decode_seconds.labels(head=CLICKS).time():
            masks, detections = self._predictor.inference_features(
                features,
                src_shape=image.size_wh[::-1],
                dst_shape=(INPUT_SIZE_PX, INPUT_SIZE_PX),
                bboxes=boxes,
                points=points,
                labels=labels,
                multimask_output=ambiguous,
            )
        if masks is None:
            return []
        scores = np.clip(detections[:, 4].float().cpu().numpy(), 0, 1)
        segments = [
            Segment(mask=mask, score=float(score)) for mask, score in zip(masks.cpu().numpy(), scores, strict=True)
        ]
        return sorted((segment for segment in segments if segment.mask.any()), key=lambda segment: -segment.score)

    def prepare(self, image: Photo) -> None:
        """See `ImageEncoder.prepare`."""
        if not self._embeddings.has(self._image_name(image), CLICKS):
            self._embedding(image, urgent=False)

    def finish(self) -> None:
        """See `ImageEncoder.finish`."""
        self._embeddings.wait_until_written()

    def _image_name(self, image: Photo) -> str:
        return embedding_name(image, self._fingerprint)

    def _embedding(self, image: Photo, *, urgent: bool = True) -> Any:
        tensors = self._embeddings.get(self._image_name(image), CLICKS, lambda: self._encode(image), urgent=urgent)
        embed = tensors["embed"].to(self._predictor.device)
        fine = [tensors[name].to(self._predictor.device) for name in sorted(tensors) if name.startswith("fine")]
        return {"image_embed": embed, "high_res_feats": fine} if fine else embed

    def _encode(self, image: Photo) -> Mapping[str, Tensors]:
        """Encodes the image; one thread at a time calls it, because the predictor holds the image that it encodes."""
        # Ultralytics expects arrays as BGR.
        self._predictor.set_image(np.ascontiguousarray(image.pixels[..., ::-1]))
        encoded = self._predictor.features
        self._predictor.reset_image()
        if not isinstance(encoded, dict):
            return {CLICKS: {"embed": encoded}}
        fine = {f"fine{number}": level for number, level in enumerate(encoded["high_res_feats"])}
        return {CLICKS: {"embed": encoded["image_embed"], **fine}}


def load_sam(weights: str, *, device: str, embeddings: EmbeddingCache, metrics: Metrics) -> SamSegmenter:
    """Loads SAM 2.1 or MobileSAM.

    Args:
        weights: a path, or a name that Ultralytics downloads (`sam2.1_b.pt`, `mobile_sam.pt`). Ultralytics derives the
            architecture from the file's name, which must end in one of Ultralytics' own names.
        device: as Ultralytics names it: `cpu`, `cuda:0`, `mps`.

    Raises:
        ModelError: the file does not exist, cannot be downloaded, or does not contain such a model.
    """
    quiet_ultralytics()
    from ultralytics.models.sam import Predictor, SAM2Predictor

    if ("/" in weights or "\\" in weights) and not Path(weights).is_file():
        raise ModelError(f"There are no SAM weights at '{weights}' (SAM_WEIGHTS).")
    kind = SAM2Predictor if "sam2" in Path(weights).name else Predictor
    overrides = {
        "model": weights,
        "imgsz": INPUT_SIZE_PX,
        "device": device,
        "conf": 0.0,
        "task": "segment",
        "mode": "predict",
        "save": False,
        "verbose": False,
    }
    try:
        predictor = kind(overrides=overrides)
        predictor.setup_model(verbose=False)
    except LOAD_ERRORS as e:
        raise ModelError(f"SAM does not load from '{weights}': {e}.") from e
    name = Path(weights).stem
    weights_fingerprint = fingerprint(Path(weights)) if Path(weights).is_file() else name
    return SamSegmenter(predictor, name=name, fingerprint=weights_fingerprint, embeddings=embeddings, metrics=metrics)
