"""SegFormer-B2 (Xie et al. 2021) of `transformers`: every pixel gets a label or background."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from backend.errors import ModelError
from training.students.pictures import Sample
from training.students.student import Kind, Student, Terms
from training.students.torch_student import TorchStudent, normalised
from training.students.weights import RANDOM

NAME = "nvidia/mit-b2"
URL = f"https://huggingface.co/{NAME}/resolve/main/config.json"
# The encoder's and the decoder's sizes of B2.
B2 = {
    "depths": [3, 4, 6, 3],
    "hidden_sizes": [64, 128, 320, 512],
    "decoder_hidden_size": 768,
}
BACKGROUND_WEIGHT, LABEL_WEIGHT = 1.0, 3.0


def open_segformer(terms: Terms) -> Student:
    """Returns the student.

    Raises:
        ModelError: `transformers` is not installed.
    """
    return TorchStudent(SegFormer(terms), terms)


class SegFormer:
    """Trained by cross-entropy: background counts once, each label three times; see `Family`."""

    kind: Kind = "label map"
    batch = 8
    half = True

    def __init__(self, terms: Terms) -> None:
        self.network, self.began_with = _network(terms)
        # The authors' 6e-5 is for a pretrained encoder.
        self.learning_rate = 5e-4 if self.began_with.startswith(RANDOM) else 1e-4
        self._weights = torch.tensor([BACKGROUND_WEIGHT] + [LABEL_WEIGHT] * len(terms.labels), device=terms.device)

    def loss(self, images: torch.Tensor, samples: Sequence[Sample]) -> torch.Tensor:
        """See `Family.loss`."""
        truth = torch.from_numpy(np.stack([sample.label_map for sample in samples]).astype(np.int64))
        logits = self.network(normalised(images)).logits.float()
        enlarged = torch.nn.functional.interpolate(logits, truth.shape[1:], mode="bilinear", align_corners=False)
        return torch.nn.functional.cross_entropy(enlarged, truth.to(images.device), weight=self._weights)

    def answering(self) -> torch.nn.Module:
        """See `Family.answering`."""
        return _Answering(self.network)


class _Answering(torch.nn.Module):
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        # A fourth of the image's height and width.
        logits = self.network(normalised(images)).logits
        enlarged = torch.nn.functional.interpolate(logits, images.shape[2:], mode="bilinear", align_corners=False)
        return (enlarged.softmax(dim=1),)


def _network(terms: Terms) -> tuple[torch.nn.Module, str]:
    try:
        from transformers import SegformerConfig, SegformerForSemanticSegmentation
        from transformers.utils import logging as library_logging
    except ImportError as e:
        raise ModelError("SegFormer needs the package transformers: pip install -r requirements-students.txt") from e
    library_logging.set_verbosity_error()
    library_logging.disable_progress_bar()
    torch.manual_seed(0)
    classes = len(terms.labels) + 1
    source = _source(terms)
    if source is None:
        return SegformerForSemanticSegmentation(SegformerConfig(num_labels=classes, **B2)), terms.weights.missing(NAME)
    network: Any = SegformerForSemanticSegmentation.from_pretrained(
        source, num_labels=classes, ignore_mismatched_sizes=True, cache_dir=terms.weights.folder
    )
    return network, f"{NAME}, pretrained on ImageNet"


def _source(terms: Terms) -> Path | str | None:
    """Returns the folder of the encoder's weights, or their name if they can be downloaded; else None."""
    folder = terms.weights.folder / NAME.rpartition("/")[2]
    if (folder / "config.json").is_file():
        return folder
    return NAME if terms.weights.reaches(URL) else None
