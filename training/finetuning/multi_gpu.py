"""A training on several GPUs: Ultralytics runs a process for each of them, and these tell ours how far they are.

What a training of ours does after each epoch goes along into those processes: checkpoints are kept, the time limit ends
it, each epoch is told; all by the first of them. What does not go along is made up for here. The processes are in
sessions of their own, out of reach of who ends a training by ending its process: so each asks to die with its parent.
"""

from __future__ import annotations

import ctypes
import json
import signal
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, wait
from contextlib import suppress
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import psutil
import torch
from ultralytics.models.yolo.segment import SegmentationTrainer
from ultralytics.utils import RANK

from backend.compute.quiet_ultralytics import quiet_ultralytics
from backend.settings import Settings
from training.finetuning.progress import TrainingProgress

FAILED = "failed.txt"
LOOK_EVERY_S = 0.5
PR_SET_PDEATHSIG = 1


class SeveralGpuTrainer(SegmentationTrainer):  # type: ignore[misc]
    """Ultralytics' own, in the processes that it starts: ends with its parent, keeps its share, says why it failed."""

    def __init__(self, *given: Any, **named: Any) -> None:
        if RANK != -1 and sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        quiet_ultralytics()
        super().__init__(*given, **named)

    def _setup_ddp(self) -> None:
        super()._setup_ddp()
        share = Settings().gpu_memory_share_train
        if share < 1:
            torch.cuda.set_per_process_memory_fraction(share, self.device)

    def train(self) -> Any:
        """Trains; what fails in one of the processes is written down for the one that waits for them."""
        try:
            return super().train()
        except RuntimeError as e:
            if RANK != -1:
                # Beside the folder that Ultralytics empties. The first to fail knows why; the others miss it.
                with (self.save_dir.parent / FAILED).open("a") as file:
                    file.write(f"{e}\n")
            raise


def run_and_relay(train: Callable[[], None], *, told: Path, report: Callable[[TrainingProgress], None]) -> None:
    """Runs a training whose processes write into `told`, and reports each epoch from this thread, which knows its job.

    Raises:
        RuntimeError: what the processes say of why they failed.
    """
    failed = told.parent / FAILED
    failed.unlink(missing_ok=True)
    told.unlink(missing_ok=True)
    before = {one.pid for one in psutil.Process().children()}
    reported = 0
    with ThreadPoolExecutor(1, thread_name_prefix="several-gpus") as pool:
        training = pool.submit(train)
        try:
            while not wait([training], timeout=LOOK_EVERY_S).done:
                reported = _report_new(told, reported, report)
        finally:
            # A time limit ends this thread alone: what the other waits for is ended here, and takes its own along.
            while not training.done():
                for one in psutil.Process().children():
                    with suppress(psutil.NoSuchProcess):
                        if one.pid not in before:
                            one.kill()
                wait([training], timeout=LOOK_EVERY_S)
    _report_new(told, reported, report)
    try:
        training.result()
    except CalledProcessError as e:
        said = failed.read_text().splitlines()[:1] if failed.is_file() else []
        raise RuntimeError(f"On several GPUs: {''.join(said) or 'one of the processes ended without a word'}") from e


def _report_new(told: Path, reported: int, report: Callable[[TrainingProgress], None]) -> int:
    """Reports what is told beyond the first `reported` lines; how many there are now."""
    lines = told.read_text().split("\n")[:-1] if told.is_file() else []
    for line in lines[reported:]:
        report(TrainingProgress(**json.loads(line)))
    return len(lines)
