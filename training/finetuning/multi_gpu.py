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
POLL_INTERVAL_S = 0.5
PR_SET_PDEATHSIG = 1


class MultiGpuTrainer(SegmentationTrainer):  # type: ignore[misc]
    """Ultralytics' trainer; in its processes it dies with its parent, limits GPU memory and writes down errors."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        if RANK != -1 and sys.platform == "linux":
            ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        quiet_ultralytics()
        super().__init__(*args, **kwargs)

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


def run_and_relay(
    train: Callable[[], None], *, progress_file: Path, report: Callable[[TrainingProgress], None]
) -> None:
    """Runs a training whose processes write into `progress_file`; reports each epoch from the thread of the RQ job.

    Raises:
        RuntimeError: a process failed; the message is the first error.
    """
    failed = progress_file.parent / FAILED
    failed.unlink(missing_ok=True)
    progress_file.unlink(missing_ok=True)
    other_children = {child.pid for child in psutil.Process().children()}
    reported = 0
    with ThreadPoolExecutor(1, thread_name_prefix="several-gpus") as pool:
        training = pool.submit(train)
        try:
            while not wait([training], timeout=POLL_INTERVAL_S).done:
                reported = _report_new(progress_file, reported, report)
        finally:
            # RQ's timeout ends only this thread. The pool's thread waits for a child: killing it ends its children too.
            while not training.done():
                for child in psutil.Process().children():
                    with suppress(psutil.NoSuchProcess):
                        if child.pid not in other_children:
                            child.kill()
                wait([training], timeout=POLL_INTERVAL_S)
    _report_new(progress_file, reported, report)
    try:
        training.result()
    except CalledProcessError as e:
        first_error = failed.read_text().splitlines()[:1] if failed.is_file() else []
        raise RuntimeError(
            f"On several GPUs: {''.join(first_error) or 'a process ended without an error message'}"
        ) from e


def _report_new(progress_file: Path, reported: int, report: Callable[[TrainingProgress], None]) -> int:
    """Reports the lines of `progress_file` after the first `reported`; returns how many lines there are now."""
    lines = progress_file.read_text().split("\n")[:-1] if progress_file.is_file() else []
    for line in lines[reported:]:
        report(TrainingProgress(**json.loads(line)))
    return len(lines)
