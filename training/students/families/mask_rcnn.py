"""Mask R-CNN (He et al. 2017) with ResNet-50, as torchvision's second version has it (Li et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torchvision.models.detection import MaskRCNN_ResNet50_FPN_V2_Weights, maskrcnn_resnet50_fpn_v2
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.mask_rcnn import MaskRCNNPredictor

from training.students.pictures import Sample, rounded_side
from training.students.student import Kind, Student, Terms
from training.students.torch_student import TorchStudent, normalised

# Detections below this score change no metric; each costs the time of a mask.
MIN_SCORE = 0.01
MASK_CHANNELS = 256


def open_mask_rcnn(terms: Terms) -> Student:
    """Returns the student."""
    return TorchStudent(MaskRcnn(terms), terms)


class MaskRcnn:
    """Trained by its own losses: proposals, boxes, classes and masks, summed; see `Family`."""

    kind: Kind = "instances"
    batch = 4
    half = False

    def __init__(self, terms: Terms) -> None:
        self.network, self.began_with = _network(terms)
        self.learning_rate = 2e-4

    def loss(self, images: torch.Tensor, samples: Sequence[Sample]) -> torch.Tensor:
        """See `Family.loss`."""
        targets = [_target(sample, images.device) for sample in samples]
        return torch.stack(list(self.network(list(images), targets).values())).sum()

    def answering(self) -> torch.nn.Module:
        """See `Family.answering`."""
        return _Answering(self.network)


class _Answering(torch.nn.Module):
    """The network without its own first and last step: images have their size already, and masks stay in their boxes.

    The last one draws each mask at the image's size, also those of a score that nobody asks for.
    """

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        network, sizes = self.network, [(images.shape[2], images.shape[3])]
        images = normalised(images)
        features = network.backbone(images)
        proposals, _ = network.rpn(ImageList(images, sizes), features)
        (found,), _ = network.roi_heads(features, proposals, sizes)
        return found["boxes"], found["labels"], found["scores"], found["masks"]


def _target(sample: Sample, device: torch.device) -> dict[str, torch.Tensor]:
    boxes = np.zeros((len(sample.masks), 4), np.float32)
    for box, mask in zip(boxes, sample.masks, strict=True):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        # The box ends behind its last pixel, so that it is never without width.
        box[:] = columns[0], rows[0], columns[-1] + 1, rows[-1] + 1
    arrays: dict[str, Any] = {"boxes": boxes, "labels": sample.numbers, "masks": sample.masks.view(np.uint8)}
    return {name: torch.from_numpy(array).to(device) for name, array in arrays.items()}


def _network(terms: Terms) -> tuple[torch.nn.Module, str]:
    torch.manual_seed(0)
    url = MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1.url
    path = terms.weights.find(url)
    # Otherwise torchvision enlarges each image to 800 pixels.
    side = rounded_side(terms.image_size_px)
    sides = {"min_size": side, "max_size": side, "box_score_thresh": MIN_SCORE}
    classes = len(terms.labels) + 1
    if path is None:
        network = maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, num_classes=classes, **sides)
        return network, terms.weights.missing(url.rpartition("/")[2])
    network = maskrcnn_resnet50_fpn_v2(weights=None, weights_backbone=None, **sides)
    network.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    heads = network.roi_heads
    heads.box_predictor = FastRCNNPredictor(heads.box_predictor.cls_score.in_features, classes)
    heads.mask_predictor = MaskRCNNPredictor(heads.mask_predictor.conv5_mask.in_channels, MASK_CHANNELS, classes)
    return network, "Mask R-CNN, pretrained on COCO"
