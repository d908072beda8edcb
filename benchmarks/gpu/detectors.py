"""YOLO11-seg: images a second by size and batch, from JPEG to regions, equality of precisions, a training step."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import cv2
import numpy as np
import torch

from backend.compute.quiet_ultralytics import load_yolo, quiet_ultralytics
from backend.detector.average_precision import mask_map
from backend.detector.runtimes.base import Outputs
from backend.detector.runtimes.network import GarmentNetwork, load_network
from backend.detector.runtimes.torch_runtime import TorchRuntime
from backend.detector.starter import STARTER
from backend.detector.yolo11 import Detector
from backend.domain import Image, LabelledMask, Outlining, Pixels, Scene
from backend.images.decode import decode_image
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.regions.encode import encode
from benchmarks.gpu.figures import Clock, Figure
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette_xml import GARMENTS, palette

SIZES = ("n", "s", "m")
SIDE_PX = 640
BATCHES = (1, 2, 4, 8, 16, 32)
TRAINED_BATCH = 16
# Photographs of two megapixels.
SIZE_WH = (1224, 1634)
MIN_SCORE = 0.25
DECODING_THREADS = 8


def measure_networks(clock: Clock, *, side_px: int, sizes: Sequence[str], batches: Sequence[int]) -> list[Figure]:
    """Images a second of the network alone, from pixels in memory to its outputs there."""
    figures: list[Figure] = []
    for size in sizes:
        for batch in batches:
            with clock.memory(figures):
                runtime = TorchRuntime(GarmentNetwork(_untrained(size).model), device=clock.device, batch=batch)
                images = [np.full((side_px, side_px, 3), 114, np.uint8)] * batch
                median, _ = clock.milliseconds(partial(_outputs, runtime, images))
                rate = 1000 * batch / median
                figures.append(Figure(f"YOLO11{size}-seg", "network", _precision(runtime), batch, rate, None, "1/s"))
    return figures


def measure_whole_path(clock: Clock, *, side_px: int, batches: Sequence[int]) -> list[Figure]:
    """Images a second from JPEGs to Label Studio's regions, with the starter, which finds what is drawn in them."""
    figures: list[Figure] = []
    count = 2 * max(batches)
    jpegs = [_jpeg(number) for number in range(count)]
    config = parse_label_config(palette(GARMENTS))
    exact = _detector("cpu", side_px, 1).detect(map(_decoded, jpegs), min_score=MIN_SCORE)
    truth = [[LabelledMask(one.mask, one.class_name) for one in scene.detections] for scene in exact]
    for batch in batches:
        with clock.memory(figures), ThreadPoolExecutor(DECODING_THREADS) as pool:
            detector = _detector(clock.device, side_px, batch)
            median, _ = clock.milliseconds(partial(_whole_path, detector, pool, jpegs, config))
            alike = mask_map(truth, (scene.detections for scene in _whole_path(detector, pool, jpegs, config, 0)))
            name, rate = _precision(detector.runtime), 1000 * count / median
            what = "JPEG to regions, 2 megapixels"
            figures.append(Figure("YOLO11n-seg", what, name, batch, rate, None, "1/s", equality=alike))
    return figures


def _whole_path(
    detector: Detector, pool: ThreadPoolExecutor, jpegs: Sequence[bytes], config: LabelConfig, _: int
) -> list[Scene]:
    scenes = list(detector.detect(pool.map(_decoded, jpegs), min_score=MIN_SCORE))
    for scene in scenes:
        for found in scene.detections:
            # Which label it is does not matter to the time.
            garment = LabelledMask(found.mask, config.labels[0].value)
            encode(garment, config, outlining=Outlining(), model_version="")
    return scenes


def measure_training(clock: Clock, *, side_px: int, batch: int) -> list[Figure]:
    """A step of a training: forwards, loss, backwards, optimizer."""
    figures: list[Figure] = []
    device = torch.device(clock.device)
    half = torch.float16 if clock.is_gpu else torch.bfloat16
    for precision in (torch.float32, half):
        with clock.memory(figures):
            step = _step(_trainable(device), _training_batch(side_px, batch, device), device, precision)
            median, high = clock.milliseconds(step)
            name = str(precision).removeprefix("torch.")
            figures.append(Figure("YOLO11n-seg", f"training step, {side_px} px", name, batch, median, high, "ms"))
    return figures


def _outputs(runtime: TorchRuntime, images: Sequence[Pixels], _: int) -> list[Outputs]:
    return list(runtime.infer(images))


def _step(
    model: Any, images: dict[str, torch.Tensor], device: torch.device, precision: torch.dtype
) -> Callable[[int], None]:
    """Returns a function that makes one step of a training; its argument does not matter."""
    optimizer = torch.optim.SGD(model.parameters(), 0.001)
    scaler = torch.amp.GradScaler(device.type, enabled=precision is torch.float16)

    def step(_: int) -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, precision, enabled=precision is not torch.float32):
            loss, _parts = model.loss(images)
        scaler.scale(loss.sum()).backward()
        scaler.step(optimizer)
        scaler.update()

    return step


def _untrained(size: str) -> Any:
    quiet_ultralytics()
    from ultralytics import YOLO

    return YOLO(f"yolo11{size}-seg.yaml")


def _trainable(device: torch.device) -> Any:
    from ultralytics.cfg import get_cfg

    model = load_yolo(str(STARTER)).model.float().train().to(device)
    model.args = get_cfg(overrides={"overlap_mask": True})
    for parameter in model.parameters():
        parameter.requires_grad_(True)
    return model


def _training_batch(side_px: int, batch: int, device: torch.device) -> dict[str, torch.Tensor]:
    """A batch as Ultralytics' loader makes it: one garment, a rectangle, in the middle of each image."""
    quarter = side_px // 4
    masks = torch.zeros(batch, quarter, quarter)
    masks[:, quarter // 4 : 3 * quarter // 4, quarter // 4 : 3 * quarter // 4] = 1
    content = {
        "img": torch.rand(batch, 3, side_px, side_px),
        "cls": torch.zeros(batch, 1),
        "bboxes": torch.tensor([[0.5, 0.5, 0.5, 0.5]]).repeat(batch, 1),
        "batch_idx": torch.arange(batch).float(),
        "masks": masks,
    }
    return {name: tensor.to(device) for name, tensor in content.items()}


def _detector(device: str, side_px: int, batch: int) -> Detector:
    network, classes = load_network(STARTER)
    runtime = TorchRuntime(network, device=device, batch=batch)
    return Detector(runtime, classes=classes, image_size_px=side_px)


def _precision(runtime: Any) -> str:
    return str(runtime.name).removeprefix("torch-")


def _jpeg(number: int) -> bytes:
    large = cv2.resize(draw_figure(number).pixels, SIZE_WH, interpolation=cv2.INTER_CUBIC)
    return cv2.imencode(".jpg", large[..., ::-1])[1].tobytes()


def _decoded(jpeg: bytes) -> Image:
    return decode_image(jpeg, source="a drawing", max_pixels=10**8)
