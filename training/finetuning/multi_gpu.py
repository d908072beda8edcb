"""Trains on several GPUs: Ultralytics starts a process for each, and they report their progress to this process.

Ultralytics passes the callbacks on to those processes; the first of them copies checkpoints, applies the time limit and
reports each epoch. This module adds what is not passed on, such as the GPU memory share. The processes run in sessions
of their own, so killing the training's process does not kill them: each asks to be killed when its parent dies.
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
    """Ultralytics' trainer; in its processes it dies with its parent, limits GPU memory and writes down errors."""

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
        """Trains; a process that fails writes the error into a file for `run_and_relay`."""
        try:
            return super().train()
        except RuntimeError as e:
            if RANK != -1:
                # Not in `save_dir`, which Ultralytics empties. The first line is the cause; others fail because of it.
                with (self.save_dir.parent / FAILED).open("a") as file:
                    file.write(f"{e}\n")
            raise


def run_and_relay(train: Callable[[], None], *, told: Path, report: Callable[[TrainingProgress], None]) -> None:
    """Runs a training whose processes write into `told`, and reports each epoch from the thread that has the RQ job.

    Raises:
        RuntimeError: a process failed; the message is the first error.
    """
    failed = told.parent / FAILED
    failed.unlink(missing_ok=True)
    told.unlink(missing_ok=True)
    before = {child.pid for child in psutil.Process().children()}
    reported = 0
    with ThreadPoolExecutor(1, thread_name_prefix="several-gpus") as pool:
        training = pool.submit(train)
        try:
            while not wait([training], timeout=LOOK_EVERY_S).done:
                reported = _report_new(told, reported, report)
        finally:
            # RQ's timeout ends only this thread. The pool's thread waits for a child: killing it ends its children too.
            while not training.done():
                for child in psutil.Process().children():
                    with suppress(psutil.NoSuchProcess):
                        if child.pid not in before:
                            child.kill()
                wait([training], timeout=LOOK_EVERY_S)
    _report_new(told, reported, report)
    try:
        training.result()
    except CalledProcessError as e:
        said = failed.read_text().splitlines()[:1] if failed.is_file() else []
        raise RuntimeError(f"On several GPUs: {''.join(said) or 'one of the processes ended without a word'}") from e


def _report_new(told: Path, reported: int, report: Callable[[TrainingProgress], None]) -> int:
    """Reports the lines of `told` after the first `reported`; returns how many lines there are now."""
    lines = told.read_text().split("\n")[:-1] if told.is_file() else []
    for line in lines[reported:]:
        report(TrainingProgress(**json.loads(line)))
    return len(lines)
