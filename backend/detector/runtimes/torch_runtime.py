"""Computes the network with PyTorch: the reference for other runtimes, and the fastest on a GPU (float16, batches)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import lru_cache
from itertools import groupby, islice

import numpy as np
import torch
from threadpoolctl import ThreadpoolController

from backend.detector.runtimes.base import Outputs
from backend.detector.runtimes.network import GarmentNetwork
from backend.domain import Pixels

GPU_BATCH = 16


@contextmanager
def one_thread() -> Iterator[None]:
    """PyTorch computes in one thread in the block, on a CPU; what other threads compute meanwhile keeps its threads.

    Several wait for each other after each layer, and keep their cores busy while they wait. Of a small network on cores
    that others use, that is nearly all of the time.
    """
    # It sets a thread's number on first use, which would undo the limit.
    torch.get_num_threads()
    # Not `torch.set_num_threads`: threads that first use PyTorch within the block would keep its number for good.
    with _libraries().limit(limits=1, user_api="openmp"):
        yield


@lru_cache(maxsize=1)
def _libraries() -> ThreadpoolController:
    """The loaded libraries that compute in several threads: to look for them takes as long as a small frame."""
    return ThreadpoolController()


class TorchRuntime:
    """The network on any of torch's devices; on a CPU in one thread."""

    def __init__(self, network: GarmentNetwork, *, device: str, batch: int | None = None) -> None:
        """`batch`: images that are computed together; by default `GPU_BATCH` on a GPU, and 1 elsewhere."""
        self._device = torch.device(device)
        self._half = self._device.type == "cuda"
        self._batch = batch or (GPU_BATCH if self._half else 1)
        self._network = network.to(self._device)
        if self._half:
            self._network = self._network.half()

    @property
    def name(self) -> str:
        """`torch-float16` on a GPU, `torch-float32` elsewhere."""
        return "torch-float16" if self._half else "torch-float32"

    def infer(self, images: Iterable[Pixels]) -> Iterator[Outputs]:
        """See `Runtime.infer`; consecutive images of one size are computed as a batch."""
        remaining = iter(images)
        while batch := list(islice(remaining, self._batch)):
            for _, same_size in groupby(batch, key=lambda image: image.shape):
                yield from self._infer_batch(list(same_size))

    def _infer_batch(self, images: list[Pixels]) -> Iterator[Outputs]:
        stacked = torch.from_numpy(np.stack(images)).to(self._device).permute(0, 3, 1, 2)
        threads = one_thread() if self._device.type == "cpu" else nullcontext()
        with threads, torch.inference_mode():
            outputs = self._network((stacked.half() if self._half else stacked.float()) / 255)
        for candidates, prototypes, features in zip(*(output.float().cpu().numpy() for output in outputs), strict=True):
            yield Outputs(candidates, prototypes, features)
