"""U-Net (Ronneberger et al. 2015) with MobileNetV2 of `segmentation-models-pytorch`: clothing or not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from backend.errors import ModelError
from training.students.pictures import Sample
from training.students.student import Kind, Student, Terms
from training.students.torch_student import TorchStudent, normalised

# torchvision's weights, whose layers have the same names.
URL = "https://download.pytorch.org/models/mobilenet_v2-b0353104.pth"


def open_unet(terms: Terms) -> Student:
    """Returns the student.

    Raises:
        ModelError: `segmentation-models-pytorch` is not installed.
    """
    return TorchStudent(UNet(terms), terms)


class UNet:
    """Trained by Dice and binary cross-entropy in equal parts; see `Family`.

    Where a project has one label, clothing is that label; else its answers name none.
    """

    batch = 8
    half = True

    def __init__(self, terms: Terms) -> None:
        self.kind: Kind = "label map" if len(terms.labels) == 1 else "clothing"
        self.network, self.began_with = _network(terms)
        self.learning_rate = 1e-3

    def loss(self, images: torch.Tensor, samples: Sequence[Sample]) -> torch.Tensor:
        """See `Family.loss`."""
        truth = torch.from_numpy(np.stack([sample.label_map > 0 for sample in samples])).to(images.device).float()
        return half_dice_half_bce(self.network(normalised(images))[:, 0].float(), truth)

    def answering(self) -> torch.nn.Module:
        """See `Family.answering`."""
        return _Answering(self.network)


def half_dice_half_bce(logits: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
    """Returns the loss of logits against truth in `[0, 1]`, both `float32 (N, H, W)`: Dice and cross-entropy, halved.

    Dice is that of Milletari et al. (V-Net, 2016), without squares, over each picture, with 1 added above and below.
    """
    probability = logits.sigmoid()
    shared = (probability * truth).sum(dim=(1, 2))
    dice = (2 * shared + 1) / (probability.sum(dim=(1, 2)) + truth.sum(dim=(1, 2)) + 1)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth)
    return 0.5 * (1 - dice).mean() + 0.5 * entropy


class _Answering(torch.nn.Module):
    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor]:
        clothing = self.network(normalised(images)).sigmoid()
        return (torch.cat([1 - clothing, clothing], dim=1),)


def _network(terms: Terms) -> tuple[torch.nn.Module, str]:
    try:
        import segmentation_models_pytorch as library
    except ImportError as e:
        raise ModelError(
            "U-Net needs the package segmentation-models-pytorch: pip install -r requirements-students.txt"
        ) from e
    torch.manual_seed(0)
    network = library.Unet("mobilenet_v2", encoder_weights=None, classes=1)
    path = terms.weights.find(URL)
    if path is None:
        return network, terms.weights.missing(URL.rpartition("/")[2])
    network.encoder.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    return network, "MobileNetV2, pretrained on ImageNet"
