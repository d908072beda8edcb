"""Trainers in two processes on the CPU. Apart from the tests, because each of those processes imports this module."""

from __future__ import annotations

import time
from typing import Any

from torch import distributed, nn
from ultralytics.utils import LOCAL_RANK, RANK
from ultralytics.utils.torch_utils import strip_optimizer

from training.finetuning.multi_gpu import MultiGpuTrainer


class OnCpu(MultiGpuTrainer):
    """Ultralytics offers no second process on a CPU: here it is told of two, and joins them by gloo."""

    def __init__(self, *given: Any, overrides: dict[str, Any], **named: Any) -> None:
        super().__init__(*given, overrides={**overrides, "device": "cpu"}, **named)
        self.world_size, self.ddp = 2, LOCAL_RANK == -1

    def _setup_ddp(self) -> None:
        distributed.init_process_group("gloo", rank=RANK, world_size=2)

    def _setup_train(self) -> None:
        whole = nn.parallel.DistributedDataParallel

        def joined(model: nn.Module, *, device_ids: Any, **named: Any) -> nn.Module:
            return whole(model, **named)

        nn.parallel.DistributedDataParallel = joined  # type: ignore[assignment, misc]
        super()._setup_train()

    def final_eval(self) -> None:
        # Without its last look at the held-out images, before which it asks CUDA where it is.
        if RANK == 0:
            strip_optimizer(self.best)


class OutOfMemory(OnCpu):
    """Fails in one of its processes as a GPU does, while more than two images are asked for."""

    def _setup_train(self) -> None:
        super()._setup_train()
        if RANK == 1 and self.batch_size > 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 20.00 MiB")


class Endless(OnCpu):
    """Its third epoch does not end by itself."""

    def _setup_train(self) -> None:
        super()._setup_train()
        self.add_callback("on_train_epoch_start", lambda trainer: time.sleep(600) if trainer.epoch == 2 else None)
