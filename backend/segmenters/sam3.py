"""SAM 3: clicks and boxes through its interactive head, words and examples through its concept head.

One pass through the vision backbone serves both heads. The backbone gets the image stretched to a square, as in SAM 3's
training and in Ultralytics' `SAM3SemanticPredictor`.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch

from backend.domain import Box, Image, Mask, Photo, Point, Prompt, Segment
from backend.errors import PromptError
from backend.segmenters.embedding_cache import EmbeddingCache, embedding_name
from backend.segmenters.embedding_files import Tensors
from backend.segmenters.sam3_checkpoint import Sam3
from backend.telemetry.metrics import Metrics

CLICKS, CONCEPT = "clicks", "concept"
# Candidates whose predicted IoU is this near to the best count as equal; the largest, the whole garment, is taken.
EQUAL_SCORE = 0.02
# SAM 2's predictor has the same bound on the logits that go back into the decoder.
LOGIT_BOUND = 32.0
# The phrase that Ultralytics gives SAM 3 for an example without words.
EXAMPLE_PHRASE = "visual"
MAX_CACHED_LOGITS = 256
MAX_CACHED_PHRASES = 256


class Sam3Segmenter:
    """One loaded SAM 3 and its cache of embeddings."""

    def __init__(
        self, sam3: Sam3, *, name: str, min_score: float, embeddings: EmbeddingCache, metrics: Metrics
    ) -> None:
        """`min_score` in `[0, 1]`: instances of a concept below it are dropped."""
        self.name = name
        self._sam3 = sam3
        self._min_score = min_score
        self._embeddings = embeddings
        self._metrics = metrics
        self._precision = str(sam3.precision).removeprefix("torch.")
        # The mask's logits by image, clicks and boxes: the next click refines them.
        self._logits: OrderedDict[object, torch.Tensor] = OrderedDict()
        self._logits_lock = threading.Lock()
        # The concept head stores the phrase of a search in the model itself, so that searches must not overlap.
        self._concept_lock = threading.Lock()
        self._phrases: OrderedDict[str, Any] = OrderedDict()

    def segment(self, image: Photo, prompt: Prompt) -> list[Segment]:
        """Returns masks `bool (H, W)`, best first: one for clicks and boxes, every instance for words and examples.

        Raises:
            PromptError: the prompt is empty, or SAM 3 cannot combine its parts; the message says which to remove.
            ImageError, LabelStudioError: the image is not encoded yet and cannot be read.
        """
        if prompt.asks_for_all:
            if prompt.points or prompt.boxes:
                raise PromptError(
                    "Clicks and boxes select one garment, examples select all similar ones. Remove one of the two."
                )
            return self._find_all(image, prompt.words, prompt.examples, min_score=self._min_score)
        if len(prompt.boxes) > 1:
            raise PromptError("Use one box at a time: accept or delete the first one.")
        if not (prompt.points or prompt.boxes):
            raise PromptError("Click on the garment, draw a box, or describe it in words.")
        return self._find_one(image, prompt.points, prompt.boxes)

    def find_words(self, image: Photo, phrases: Sequence[str], *, min_score: float) -> list[Segment]:
        """See `WordReader.find_words`."""
        return self._find_all(image, tuple(phrases), (), min_score=min_score)

    def prepare(self, image: Photo) -> None:
        """See `ImageEncoder.prepare`."""
        if not self._embeddings.has(self._image_name(image), CLICKS):
            self._embedding(image, CLICKS, urgent=False)

    def finish(self) -> None:
        """See `ImageEncoder.finish`."""
        self._embeddings.wait_until_written()

    def warm_up(self) -> None:
        """Answers each kind of prompt once on a blank image, so that no annotator waits for the slow first run."""
        size_wh = (self._sam3.input_size_px, self._sam3.input_size_px)
        blank = Image(np.zeros((*size_wh, 3), np.uint8), key="blank", source="a blank image")
        features = {head: self._for_head(embedding) for head, embedding in self._encode(blank).items()}
        with torch.inference_mode():
            self._decode(features[CLICKS], size_wh, (Point(1, 1),), (), None)
        self._instances(features[CONCEPT], size_wh, "garment", (), min_score=self._min_score)

    def _image_name(self, image: Photo) -> str:
        return embedding_name(image, self._sam3.fingerprint, self._precision)

    def _embedding(self, image: Photo, head: str, *, urgent: bool = True) -> Tensors:
        name = self._image_name(image)
        return self._for_head(self._embeddings.get(name, head, lambda: self._encode(image), urgent=urgent))

    def _for_head(self, embedding: Tensors) -> Tensors:
        """Moves the embedding to the heads' device, and converts it to their data type."""
        clicks = self._sam3.clicks
        return {name: tensor.to(clicks.device, clicks.torch_dtype) for name, tensor in embedding.items()}

    def _encode(self, image: Photo) -> Mapping[str, Tensors]:
        """Returns the image's embedding for each head; one thread at a time calls it."""
        concept, precision = self._sam3.concept, self._sam3.precision
        mixed = torch.autocast("cpu", precision, enabled=precision is torch.bfloat16)
        with torch.inference_mode(), mixed:
            # Ultralytics expects arrays as BGR.
            concept.set_image(np.ascontiguousarray(image.pixels[..., ::-1]))
            encoded = concept.features
            concept.reset_image()
            clicks = self._sam3.clicks.get_im_features(encoded["sam2_backbone_out"])
        fine, middle = clicks["high_res_feats"]
        levels = {f"level{number}": level for number, level in enumerate(encoded["backbone_fpn"])}
        concepts = {**levels, "position": encoded["vision_pos_enc"][-1]}
        return {
            # Converted to the decoder's data type here: otherwise every click would wait for the conversion.
            CLICKS: self._for_head({"embed": clicks["image_embed"], "fine": fine, "middle": middle}),
            CONCEPT: {name: tensor.to(precision) for name, tensor in concepts.items()},
        }

    def _find_one(self, image: Photo, points: Sequence[Point], boxes: Sequence[Box]) -> list[Segment]:
        """Returns the garment that the box and the clicks mean; each click refines the mask of those before it."""
        features = self._embedding(image, CLICKS)
        with self._metrics.decode_seconds.labels(head=CLICKS).time(), torch.inference_mode():
            logits, score = self._refine(image, features, tuple(points), tuple(boxes))
            mask = enlarged(logits, image.size_wh)
        return [Segment(mask=mask, score=score)] if mask.any() else []

    def _refine(
        self, image: Photo, features: Tensors, points: tuple[Point, ...], boxes: tuple[Box, ...]
    ) -> tuple[torch.Tensor, float]:
        """Returns logits `(h, w)` of the mask, and its predicted IoU in `[0, 1]`.

        The result depends only on the prompts and their order: cached logits of earlier clicks only save time.
        """
        name, previous = self._image_name(image), None
        if points and (len(points) > 1 or boxes):
            earlier = (name, points[:-1], boxes)
            with self._logits_lock:
                previous = self._logits.get(earlier)
            if previous is None:
                previous, _ = self._refine(image, features, points[:-1], boxes)
        logits, score = self._decode(features, image.size_wh, points, boxes, previous)
        with self._logits_lock:
            self._logits[name, points, boxes] = logits
            while len(self._logits) > MAX_CACHED_LOGITS:
                self._logits.popitem(last=False)
        return logits, score

    def _decode(
        self,
        features: Tensors,
        size_wh: tuple[int, int],
        points: Sequence[Point],
        boxes: Sequence[Box],
        previous: torch.Tensor | None,
    ) -> tuple[torch.Tensor, float]:
        clicks = self._sam3.clicks
        scale = np.array([self._sam3.input_size_px / size for size in size_wh], np.float32)
        points_xy = np.array([(point.x, point.y) for point in points], np.float32).reshape(1, -1, 2)
        corners = np.array([((box.x_min, box.y_min), (box.x_max, box.y_max)) for box in boxes], np.float32)
        square = (self._sam3.input_size_px, self._sam3.input_size_px)
        prompts = clicks._prepare_prompts(
            square,
            square,
            bboxes=(corners * scale).reshape(-1, 4) if boxes else None,
            points=points_xy * scale if points else None,
            labels=[[int(point.positive) for point in points]] if points else None,
        )
        # A single click is ambiguous (the border, the pallu or the saree): SAM gives three readings, else only one.
        candidates, scores = clicks._inference_features(
            {"image_embed": features["embed"], "high_res_feats": [features["fine"], features["middle"]]},
            *prompts[:2],
            None if previous is None else previous[None, None].to(clicks.torch_dtype),
            multimask_output=len(points) == 1 and not boxes,
        )
        best = _best_index(candidates, scores)
        logits = candidates[best].float().clamp(-LOGIT_BOUND, LOGIT_BOUND)
        return logits, float(scores[best].clamp(0, 1))

    def _find_all(
        self, image: Photo, words: tuple[str, ...], examples: Sequence[Box], *, min_score: float
    ) -> list[Segment]:
        if examples and len(words) > 1:
            raise PromptError("An example can be combined with one phrase only. Remove the other words.")
        features = self._embedding(image, CONCEPT)
        # One phrase after another: each takes 0.6 GB, and none depends on another's answer.
        segments = [
            segment if words else replace(segment, words="")
            for phrase in words or (EXAMPLE_PHRASE,)
            for segment in self._instances(features, image.size_wh, phrase, examples, min_score=min_score)
        ]
        return sorted(segments, key=lambda segment: -segment.score)

    def _instances(
        self, features: Tensors, size_wh: tuple[int, int], phrase: str, examples: Sequence[Box], *, min_score: float
    ) -> list[Segment]:
        """Returns every instance of the phrase that is like the examples, from Ultralytics' own concept predictor."""
        boxes = [[box.x_min, box.y_min, box.x_max, box.y_max] for box in examples] or None
        levels = [features["level0"], features["level1"], features["level2"]]
        with self._concept_lock, self._metrics.decode_seconds.labels(head=CONCEPT).time():
            concept = self._sam3.concept
            concept.args.conf = min_score
            self._set_phrase(phrase)
            masks, detections = concept.inference_features(
                # The predictor reads only the positions of the coarsest level.
                {"backbone_fpn": levels, "vision_pos_enc": [features["position"]] * len(levels)},
                src_shape=size_wh[::-1],
                bboxes=boxes,
                text=[phrase],
            )
        if masks is None:
            return []
        return [
            Segment(mask=mask, score=score, words=phrase)
            for mask, score in zip(masks.cpu().numpy(), detections[:, 4].tolist(), strict=True)
            if mask.any()
        ]

    def _set_phrase(self, phrase: str) -> None:
        """Sets the phrase in the model; recent phrases are cached, because encoding one takes a second on a CPU."""
        model = self._sam3.concept.model
        if phrase not in self._phrases:
            with torch.inference_mode():
                model.set_classes(text=[phrase])
            self._phrases[phrase] = model.text_embeddings
        self._phrases.move_to_end(phrase)
        while len(self._phrases) > MAX_CACHED_PHRASES:
            self._phrases.popitem(last=False)
        model.names, model.text_embeddings = [phrase], self._phrases[phrase]


def _best_index(candidates: torch.Tensor, scores: torch.Tensor) -> int:
    """Returns the index of the mask to take from `(n, h, w)` logits: the largest of those that score as the best."""
    areas = (candidates > 0).sum(dim=(1, 2))
    return int(torch.where(scores >= scores.max() - EQUAL_SCORE, areas, -1).argmax())


def enlarged(logits: torch.Tensor, size_wh: tuple[int, int]) -> Mask:
    """Returns the mask `bool (H, W)` of logits `(h, w)`, interpolated first so that its border runs between cells."""
    # A tenth of the time of PyTorch's interpolation, which is the same; from a GPU less has to be copied.
    return np.asarray(cv2.resize(logits.cpu().numpy(), size_wh, interpolation=cv2.INTER_LINEAR) > 0)
