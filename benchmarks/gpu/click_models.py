"""SAM 3 with weights drawn at random, whose times do not depend on what they are, and the built-in network."""

from __future__ import annotations

import gc
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
import torch

from backend.domain import Image, Point, Prompt, Segment
from backend.segmenters.builtin.network import load_builtin
from backend.segmenters.embedding_cache import EmbeddingCache
from backend.segmenters.embedding_tiers import MemoryTier
from backend.segmenters.sam3 import Sam3Segmenter
from backend.segmenters.sam3_checkpoint import load_sam3
from backend.telemetry.metrics import Metrics
from benchmarks.gpu.figures import Clock, Figure
from benchmarks.random_weights import random_sam3, small_sam3
from label_studio_config.demo.figures import draw_figure
from training.metrics.interactive import iou

# Two megapixels.
SIZE_WH = (1224, 1634)
CLICKS = (Point(500, 700), Point(600, 900))
PHRASE = "saree"
MEMORY_BYTES = 2 * 10**9


@dataclass(frozen=True)
class Way:
    """One way to compute SAM 3.

    Attributes:
        name: in the table.
        weights: the data type of the model's weights.
        autocast: the data type in which images are encoded, if it is another.
        compiled: whether the encoder is compiled.
    """

    name: str
    weights: torch.dtype = torch.float32
    autocast: torch.dtype | None = None
    compiled: bool = False


GPU_WAYS = (
    Way("float32"),
    Way("bfloat16", autocast=torch.bfloat16),
    Way("float16", weights=torch.float16),
    Way("float16 compiled", weights=torch.float16, compiled=True),
)
CPU_WAYS = (Way("float32"), Way("bfloat16", autocast=torch.bfloat16))


def measure_sam3(clock: Clock, *, small: bool) -> list[Figure]:
    """Encoding an image, a second click and a phrase, in each precision.

    Args:
        small: few and narrow layers, and no compiled model: for a look at a CPU.
    """
    figures: list[Figure] = []
    with tempfile.TemporaryDirectory() as folder, small_sam3() if small else nullcontext():
        weights = random_sam3(Path(folder))
        images = [_photograph(number) for number in range(clock.rounds + 1)]
        exact: list[Segment] = []
        for way in GPU_WAYS if clock.is_gpu else CPU_WAYS:
            with clock.memory(figures):
                segmenter = _segmenter(weights, way, clock.device)
                clicked = _measure_way(clock, way, segmenter, images, exact, figures)
            exact = exact or clicked
            del segmenter
            gc.collect()
    return figures


def _measure_way(
    clock: Clock, way: Way, segmenter: Sam3Segmenter, images: list[Image], exact: list[Segment], figures: list[Figure]
) -> list[Segment]:
    """Adds the figures of one way; returns what its clicks found."""
    with _encoding_in(way, clock.device):
        encode = clock.milliseconds(lambda number: segmenter._encode(images[number]))
        segmenter.prepare(images[0])
    second = Prompt(points=CLICKS)
    clicked = segmenter.segment(images[0], second)
    # The first click is known; the second is new each time.
    click = clock.milliseconds(lambda number: segmenter.segment(images[0], replace(second, points=_moved(number))))
    phrase = clock.milliseconds(lambda _: segmenter.find_words(images[0], [PHRASE], min_score=0))
    alike = iou(clicked[0].mask, exact[0].mask) if clicked and exact else None
    for what, (median, high), equality in (
        ("encode an image", encode, None),
        ("second click", click, alike),
        ("phrase", phrase, None),
    ):
        figures.append(Figure("SAM 3", what, way.name, 1, median, high, "ms", equality=equality))
    return clicked


def measure_builtin(clock: Clock) -> list[Figure]:
    """A click on an image that was clicked before, and on a new one; it computes on the CPU, also beside a GPU."""
    segmenter = load_builtin()
    images = [_photograph(number) for number in range(clock.rounds + 1)]
    first = clock.milliseconds(lambda number: segmenter.segment(images[number], Prompt(points=CLICKS[:1])))
    second = clock.milliseconds(lambda number: segmenter.segment(images[0], Prompt(points=_moved(number))))
    return [
        Figure("built-in", what, "float32, CPU", 1, median, high, "ms")
        for what, (median, high) in (("first click", first), ("second click", second))
    ]


def _segmenter(weights: Path, way: Way, device: str) -> Sam3Segmenter:
    sam3 = load_sam3(weights, device=device, precision=way.weights, compiled=way.compiled)
    metrics = Metrics()
    cache = EmbeddingCache([MemoryTier("device", device=device, max_bytes=MEMORY_BYTES)], disk=None, metrics=metrics)
    return Sam3Segmenter(sam3, name=way.name, min_score=0, embeddings=cache, metrics=metrics)


@contextmanager
def _encoding_in(way: Way, device: str) -> Iterator[None]:
    mixed: AbstractContextManager[object] = nullcontext()
    if way.autocast is not None:
        mixed = torch.autocast(device.partition(":")[0], way.autocast)
    with mixed:
        yield


def _moved(number: int) -> tuple[Point, ...]:
    return (CLICKS[0], replace(CLICKS[1], x=CLICKS[1].x + 1 + number))


def _photograph(number: int) -> Image:
    pixels = cv2.resize(draw_figure(number).pixels, SIZE_WH, interpolation=cv2.INTER_CUBIC)
    return Image(np.asarray(pixels, np.uint8), key=f"photograph-{number}", source="a drawing")
