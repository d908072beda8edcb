"""The trained network for OpenVINO, in half precision, and the facts about it."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch

from backend.compute.quiet_openvino import convert_network
from backend.compute.quiet_openvino import openvino as ov
from backend.errors import ModelError
from backend.segmenters.builtin.frames import SIZE_WH
from backend.segmenters.builtin.network import OPTIONS
from backend.segmenters.builtin.prompt_maps import CHANNELS
from backend.storage.atomic_files import write_atomically
from training.prompt_network.network import PromptNetwork

# What may lie in the repository.
MOST_BYTES = 10_000_000
NAME = "prompt_network"
WARM_UP, ROUNDS = 3, 20


@dataclass(frozen=True)
class Export:
    """An exported network.

    Attributes:
        model: the file `.xml`; the weights lie beside it, in `.bin`.
        size_bytes: of both together.
        difference: the largest difference from PyTorch, of probabilities.
        click_ms: median milliseconds of a click on this machine's CPU.
    """

    model: Path
    size_bytes: int
    difference: float
    click_ms: float


def export_network(network: PromptNetwork, folder: Path, facts: Mapping[str, Any]) -> Export:
    """Writes the network and its facts into a folder, and compares it with PyTorch.

    Its inputs are `images`, `float32 (1, 3, h, w)` of `SIZE_WH`, RGB, 0 to 255, and `prompts`, see `prompt_maps`; its
    output is how probable each pixel is, `(1, 1, h, w)`.

    Raises:
        ModelError: OpenVINO cannot convert it, or it is larger than `MOST_BYTES`.
    """
    width, height = SIZE_WH
    rng = np.random.default_rng(0)
    images = rng.uniform(0, 255, (1, 3, height, width)).astype(np.float32)
    prompts = np.zeros((1, CHANNELS, height, width), np.float32)
    prompts[0, 0, height // 2 - 3 : height // 2 + 3, width // 2 - 3 : width // 2 + 3] = 1
    inputs = {"images": images, "prompts": prompts}
    example = {name: torch.from_numpy(array) for name, array in inputs.items()}
    shapes = [(name, list(array.shape)) for name, array in inputs.items()]
    model = convert_network(network.eval(), example_input=example, input=shapes)
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{NAME}.xml"
    ov.save_model(model, file, compress_to_fp16=True)
    size = sum(part.stat().st_size for part in (file, file.with_suffix(".bin")))
    if size > MOST_BYTES:
        raise ModelError(f"The network takes {size:,} bytes; at most {MOST_BYTES:,} are shipped. Choose a smaller one.")
    compiled = ov.compile_model(file, "CPU", OPTIONS)
    with torch.inference_mode():
        expected = network(**example).numpy()
    difference = float(np.abs(compiled(inputs)[0] - expected).max())
    export = Export(file, size, difference, _milliseconds(lambda: compiled(inputs)))
    written = {
        **facts,
        "size_wh": SIZE_WH,
        "bytes": size,
        "parameters": sum(each.numel() for each in network.parameters()),
        "difference_from_torch": round(difference, 4),
        "click_ms": round(export.click_ms, 1),
        "torch": torch.__version__,
        "openvino": ov.__version__,
    }
    write_atomically(folder / f"{NAME}.json", json.dumps(written, indent=1) + "\n")
    return export


def _milliseconds(run: Any) -> float:
    times = []
    for _ in range(WARM_UP + ROUNDS):
        begun = time.perf_counter()
        run()
        times.append((time.perf_counter() - begun) * 1000)
    return median(times[WARM_UP:])
