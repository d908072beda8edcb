"""How good the network is on held-out pictures: the classes of pixels, and the usual protocol of clicks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from backend.domain import Image, Pixels
from backend.segmenters.builtin.frames import SIZE_WH, whole
from backend.segmenters.builtin.prompt_maps import Probabilities, PromptMaps
from backend.segmenters.builtin.segmenter import BuiltinSegmenter
from training.metrics.interactive import click_ious, iou_at_click, number_of_clicks
from training.prompt_network.network import PromptNetwork
from training.prompt_network.pictures import Pictures, Target
from training.prompt_network.steps import image_batch

TARGET_IOU = 0.85
REPORTED_CLICKS = (1, 3, 5)


@dataclass(frozen=True)
class ClickMetrics:
    """Of simulated annotators.

    Attributes:
        garments: how many were asked for.
        ious: mean IoU in `[0, 1]` after each of `REPORTED_CLICKS`.
        clicks_to_85: mean number of clicks to an IoU of 0.85 (NoC85), `most_clicks` where it was not reached.
    """

    garments: int
    ious: tuple[float, ...]
    clicks_to_85: float
    most_clicks: int


def simulated_clicks(
    network: PromptNetwork, pictures: Pictures, targets: Sequence[Target], *, most_clicks: int
) -> list[list[float]]:
    """Returns the IoU after each click on each of the garments, see `click_ious`."""
    network.eval()

    def answer(pixels: Pixels, maps: PromptMaps) -> Probabilities:
        with torch.inference_mode():
            return np.asarray(network(image_batch([pixels]), torch.from_numpy(maps[None]))[0, 0].numpy())

    segmenter = BuiltinSegmenter(answer)
    ious = []
    for target in targets:
        truth = pictures.instances(target.picture) == target.instance
        image = Image(pictures.pixels(target.picture), f"{target.picture}/{target.instance}", "")
        least = min(most_clicks, max(REPORTED_CLICKS))
        ious.append(
            click_ious(segmenter, image, truth, min_clicks=least, max_clicks=most_clicks, target_iou=TARGET_IOU)
        )
    return ious


def click_metrics(ious: Sequence[list[float]], *, most_clicks: int) -> ClickMetrics:
    """Returns the means over all garments; of none, zeros."""
    means = tuple(float(np.mean([iou_at_click(run, click) for run in ious] or [0.0])) for click in REPORTED_CLICKS)
    clicks = [number_of_clicks(run, TARGET_IOU, max_clicks=most_clicks) for run in ious]
    return ClickMetrics(len(ious), means, float(np.mean(clicks or [0])), most_clicks)


def confusion(network: PromptNetwork, pictures: Pictures, numbers: Sequence[int]) -> npt.NDArray[np.int64]:
    """Counts pixels of whole pictures by class and by class found, `(C, C)`, with 0 for no class."""
    network.eval()
    count = len(pictures.classes) + 1
    table = np.zeros((count, count), np.int64)
    known = torch.from_numpy(pictures.known_classes())
    for number in numbers:
        frame = whole(pictures.entries[number].size_wh)
        seen = frame.cut(pictures.instances(number), size_wh=SIZE_WH, labels=True)
        classes = pictures.class_numbers(number)[seen]
        with torch.inference_mode():
            images = image_batch([frame.cut(pictures.pixels(number), size_wh=SIZE_WH)])
            logits = network.class_logits(network.encode(images))[0]
            logits[~known[pictures.entries[number].set_number]] = -torch.inf
            found = logits.argmax(0).numpy().repeat(4, 0).repeat(4, 1)
        table += np.bincount((classes * count + found).ravel(), minlength=count * count).reshape(count, count)
    return table


def mean_iou(table: npt.NDArray[np.int64]) -> float:
    """Returns the mean IoU, in `[0, 1]`, of the classes that are seen in the pictures (mIoU)."""
    right = np.diag(table)
    seen = table.sum(1) > 0
    return float(np.mean((right / np.maximum(table.sum(0) + table.sum(1) - right, 1))[seen]))
