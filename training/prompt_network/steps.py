"""One step of each phase of the training: gradients from a batch of crops."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from backend.domain import Mask
from backend.segmenters.builtin.frames import SIZE_WH
from training.prompt_network.clicks import Clicks, corrected, first_prompt, stacked
from training.prompt_network.crops import Crop
from training.prompt_network.network import PromptNetwork

# Garments that are asked for in one crop, and the most rounds of each: the first prompt, then corrections.
MOST_GARMENTS, MOST_ROUNDS = 2, 4
# What the classes weigh beside the masks, so that the encoder does not forget them.
CLASS_WEIGHT = 0.3
# How often the mask so far is kept from the network, which must then go by the clicks alone; and how often there is at
# first no new click, but a mask as coarse as from the whole picture: so the nearer crop is asked after the first click.
FORGET_SHARE, NEARER_SHARE = 0.2, 0.5
# Dice counts a small garment as much as a large one; without this many pixels in both, an empty one would divide by 0.
DICE_FLOOR_PX = 1.0
COARSE_WH = (SIZE_WH[0] // 4, SIZE_WH[1] // 4)


def image_batch(pixels: Sequence[npt.NDArray[np.uint8]]) -> Tensor:
    """Returns pictures of one size as the encoder takes them: `float32 (N, 3, h, w)`."""
    stacked_pixels = torch.from_numpy(np.stack(pixels)).permute(0, 3, 1, 2)
    return stacked_pixels.float().contiguous(memory_format=torch.channels_last)


def dense_gradients(
    network: PromptNetwork, crops: Sequence[Crop], known: Tensor, *, classify_alone: bool = False
) -> float:
    """Adds the gradients of the class of every pixel, and returns the loss.

    Args:
        known: the classes of each data set, `bool (sets, C)`.
        classify_alone: only the layer that tells the classes apart learns, all others stay as they are.
    """
    network.train(not classify_alone)
    with torch.set_grad_enabled(not classify_alone):
        features = network.encode(image_batch([crop.pixels for crop in crops]))
    loss = _class_loss(network, features, crops, known)
    loss.backward()
    return float(loss.detach())


def prompt_gradients(
    network: PromptNetwork, crops: Sequence[Crop], known: Tensor, rng: np.random.Generator, *, rounds: int
) -> float:
    """Adds the gradients of several rounds of prompts, and returns the mean loss of their masks; 0 without a garment.

    Every round teaches, not only the last: its pass through the decoder is made anyway.

    Args:
        rounds: the first prompt, then corrections; as many in all processes, so that none waits for another.
    """
    network.train()
    # As they are after the pre-training: a batch is too small to measure them.
    network.encoder.eval()
    features = network.encode(image_batch([crop.pixels for crop in crops]))
    # The rounds gather their gradients here, and go through the encoder together.
    gathered = [feature.detach().requires_grad_() for feature in features]
    (CLASS_WEIGHT * _class_loss(network, gathered, crops, known)).backward()
    asked = [
        (number, crop.mask(garment)) for number, crop in enumerate(crops) for garment in crop.asked[:MOST_GARMENTS]
    ]
    loss = _rounds(network, gathered, asked, rng, rounds) if asked else 0.0
    reached = [(feature, end.grad) for feature, end in zip(features, gathered, strict=True) if end.grad is not None]
    torch.autograd.backward([feature for feature, _ in reached], [gradient for _, gradient in reached])
    for each in network.parameters():
        # Also where nothing was asked for: processes share the gradients of everything.
        each.grad = torch.zeros_like(each) if each.grad is None else each.grad
    return loss


def _rounds(
    network: PromptNetwork,
    features: Sequence[Tensor],
    asked: Sequence[tuple[int, Mask]],
    rng: np.random.Generator,
    rounds: int,
) -> float:
    numbers = torch.tensor([number for number, _ in asked])
    truths = [mask for _, mask in asked]
    # At the size of the network's answer.
    wanted = F.avg_pool2d(torch.from_numpy(np.stack(truths)).float()[:, None], 2)
    clicks = [first_prompt(truth, rng) for truth in truths]
    total = 0.0
    for number in range(rounds):
        prompts = torch.from_numpy(stacked(clicks)).contiguous(memory_format=torch.channels_last)
        logits = network.decode([feature[numbers] for feature in features], prompts).float()
        loss = mask_loss(logits, wanted)
        (loss / rounds).backward()
        total += float(loss.detach()) / rounds
        if number + 1 < rounds:
            found = F.interpolate(torch.sigmoid(logits.detach()), scale_factor=2, mode="bilinear")[:, 0].numpy()
            clicks = [
                _asked_again(before, truth, now, rng) for before, truth, now in zip(clicks, truths, found, strict=True)
            ]
    return total


def _asked_again(clicks: Clicks, truth: Mask, found: npt.NDArray[np.float32], rng: np.random.Generator) -> Clicks:
    if clicks.found is None and rng.random() < NEARER_SHARE:
        coarse = cv2.resize(found, COARSE_WH, interpolation=cv2.INTER_AREA)
        return replace(clicks, found=np.asarray(cv2.resize(coarse, SIZE_WH, interpolation=cv2.INTER_LINEAR)))
    clicks = corrected(clicks, truth, found, rng)
    # Without the mask, something else must say which garment is meant.
    says_which = clicks.box is not None or any(point.positive for point in clicks.points)
    return replace(clicks, found=None) if says_which and rng.random() < FORGET_SHARE else clicks


def _class_loss(network: PromptNetwork, features: Sequence[Tensor], crops: Sequence[Crop], known: Tensor) -> Tensor:
    logits = network.class_logits(features).float()
    # One pixel of four by four: the answer is as coarse.
    classes = torch.from_numpy(np.stack([crop.class_map[2::4, 2::4] for crop in crops]))
    return class_loss(logits, classes, known[[crop.set_number for crop in crops]])


def mask_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Cross entropy and Dice together, the mean of the prompts.

    Args:
        logits: `(N, 1, h, w)`.
        masks: what should be found, in `[0, 1]`, `(N, 1, h, w)`.
    """
    probable = torch.sigmoid(logits)
    both, either = (probable * masks).sum((1, 2, 3)), (probable + masks).sum((1, 2, 3))
    dice = 1 - (2 * both + DICE_FLOOR_PX) / (either + DICE_FLOOR_PX)
    return F.binary_cross_entropy_with_logits(logits, masks) + dice.mean()


def class_loss(logits: Tensor, classes: Tensor, known: Tensor) -> Tensor:
    """Cross entropy of each pixel's class, among the classes of the image's own data set.

    Args:
        logits: `(N, C, h, w)`.
        classes: `int64 (N, h, w)`.
        known: whether the image's data set has the class, `bool (N, C)`.
    """
    return F.cross_entropy(logits.masked_fill(~known[:, :, None, None], -1e4), classes)
