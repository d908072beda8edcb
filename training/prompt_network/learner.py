"""The training: two phases, over several processes and several evenings."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.multiprocessing.spawn import spawn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from backend.errors import ModelError
from training.finetuning.half_precision import depthwise_in_float32
from training.prompt_network.checkpoint import (
    Checkpoint,
    Phase,
    Row,
    add_row,
    forget_after,
    read_checkpoint,
    read_rows,
    write_checkpoint,
)
from training.prompt_network.crops import LEAST_PX, Crops
from training.prompt_network.curves import draw_curves
from training.prompt_network.evaluate import click_metrics, confusion, mean_iou, simulated_clicks
from training.prompt_network.exported import load_exported
from training.prompt_network.network import PromptNetwork
from training.prompt_network.pictures import open_pictures
from training.prompt_network.steps import MOST_ROUNDS, dense_gradients, prompt_gradients

logger = logging.getLogger(__name__)

PHASES: tuple[Phase, ...] = ("dense", "prompts")
WARM_UP_SHARE, LAST_RATE_SHARE = 0.02, 0.01
WEIGHT_DECAY, MOST_GRADIENT = 0.02, 1.0
MONITORED_CLICKS = 5


@dataclass(frozen=True)
class Plan:
    """What a training is to do.

    Attributes:
        encoder: timm's name of it.
        start: the export (`.xml`) whose weights the training starts from; None: random ones. With it, the pre-training
            teaches only the layer that tells classes apart, which an export lacks.
        crops: crops to see in each of the `PHASES`; the learning rate falls to nothing towards the end of each.
        batch: crops of a step, in each process.
        processes: how many train together, each on its share of the cores.
        learning_rate: the highest.
        decay: of the moving average of the weights, for each step.
        bfloat16: whether to compute in half precision, which is faster on processors with AMX or AVX512-BF16 only.
        minutes: how long this run may take; the next goes on where it ended. None has no end.
        checkpoint_every_s, report_every, evaluate_every: seconds, crops and crops.
        monitored: on how many held-out garments, and pictures, it is evaluated meanwhile.
    """

    encoder: str
    start: str | None
    crops: tuple[int, int]
    batch: int
    processes: int
    learning_rate: float
    decay: float
    seed: int
    bfloat16: bool
    minutes: float | None
    checkpoint_every_s: float
    report_every: int
    evaluate_every: int
    monitored: int


def train(plan: Plan, folder: Path) -> bool:
    """Trains on the pictures in `folder/pictures`, from the last checkpoint in `folder`, if there is one.

    Returns:
        Whether the training is complete: else its time was up.

    Raises:
        ModelError: the encoder is unknown, the checkpoint cannot be read or is of another training, or the export to
            start from is of another network.
        DatasetError: there is nothing to ask for in the pictures.
    """
    # Before any process starts, so that only one says what is wrong.
    checkpoint = _checked(plan, folder)
    forget_after(folder, checkpoint)
    if plan.processes == 1:
        return _Learner(plan, folder, rank=0).run()
    rendezvous = folder / "rendezvous"
    rendezvous.unlink(missing_ok=True)
    spawn(_run_in_process, args=(plan, folder, rendezvous), nprocs=plan.processes)
    return _is_complete(plan, read_checkpoint(folder))


def trained_network(folder: Path) -> PromptNetwork:
    """Returns the network of the last checkpoint, with averaged weights, ready to be evaluated.

    Raises:
        ModelError: there is no checkpoint that can be read.
    """
    checkpoint = read_checkpoint(folder)
    if checkpoint is None:
        raise ModelError(f"{folder} holds no checkpoint of a training.")
    network = PromptNetwork(checkpoint.encoder, len(checkpoint.classes))
    # `AveragedModel` puts a prefix before the names, and counts its updates beside them.
    average = {name.removeprefix("module."): value for name, value in checkpoint.average.items()}
    network.load_state_dict({name: value for name, value in average.items() if name != "n_averaged"})
    return network.eval()


class _Learner:
    """One process of a training; the first writes what is kept."""

    def __init__(self, plan: Plan, folder: Path, *, rank: int) -> None:
        self._plan, self._folder, self._rank = plan, folder, rank
        torch.set_num_threads(max(torch.get_num_threads() // plan.processes, 1))
        torch.manual_seed(plan.seed)
        self._pictures = open_pictures(folder / "pictures")
        self._draw = Crops(self._pictures).draw
        self._known = torch.from_numpy(self._pictures.known_classes())
        network = PromptNetwork(plan.encoder, len(self._pictures.classes))
        if plan.start:
            load_exported(network, Path(plan.start))
        self._network = network.to(memory_format=torch.channels_last)
        self._average = _averaged(self._network, plan.decay)
        if plan.bfloat16:
            depthwise_in_float32(self._network)
        self._optimizer = self._new_optimizer()
        self._phase: Phase = PHASES[0]
        self._crops = 0
        checkpoint = read_checkpoint(folder)
        if checkpoint is not None:
            self._phase, self._crops = checkpoint.phase, checkpoint.crops
            self._network.load_state_dict(checkpoint.network)
            self._average.load_state_dict(checkpoint.average)
            self._optimizer.load_state_dict(dict(checkpoint.optimizer))
        self._begun = time.monotonic()
        self._minutes_before = checkpoint.minutes if checkpoint else 0.0
        self._saved = self._begun
        self._losses: list[float] = []

    def run(self) -> bool:
        """Trains until the end, and returns True, or until the time is up."""
        for phase, crops in zip(PHASES, self._plan.crops, strict=True):
            if PHASES.index(phase) < PHASES.index(self._phase):
                continue
            if phase != self._phase:
                self._phase, self._crops, self._optimizer = phase, 0, self._new_optimizer()
                # Else what the first phase leaves as it is, the decoder, would stay random in the average for long.
                self._average = _averaged(self._network, self._plan.decay)
            while self._crops < crops:
                if self._step(crops):
                    self._save()
                    return False
        self._save()
        return True

    def _step(self, crops_of_phase: int) -> bool:
        """Makes one step, and returns whether the time is up."""
        plan = self._plan
        for group in self._optimizer.param_groups:
            group["lr"] = plan.learning_rate * rate_share(self._crops / crops_of_phase)
        # From where the training stands alone: a run that goes on sees what it would have seen.
        rng = np.random.default_rng((plan.seed, PHASES.index(self._phase), self._crops, self._rank))
        crops = [self._draw(rng) for _ in range(plan.batch)]
        self._optimizer.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=plan.bfloat16):
            if self._phase == "dense":
                loss = dense_gradients(self._network, crops, self._known, classify_alone=plan.start is not None)
            else:
                rounds = 1 + self._crops // (plan.batch * plan.processes) % MOST_ROUNDS
                loss = prompt_gradients(self._network, crops, self._known, rng, rounds=rounds)
        loss, ends = self._share_gradients(loss)
        torch.nn.utils.clip_grad_norm_(self._network.parameters(), MOST_GRADIENT)
        self._optimizer.step()
        self._average.update_parameters(self._network)
        before, self._crops = self._crops, self._crops + plan.batch * plan.processes
        self._losses.append(loss)
        self._keep_records(before, is_last=self._crops >= crops_of_phase)
        return ends

    def _share_gradients(self, loss: float) -> tuple[float, bool]:
        """Makes all processes' gradients their mean; returns the mean loss, and whether the first's time is up."""
        ends = self._rank == 0 and self._plan.minutes is not None and self._seconds() / 60 > self._plan.minutes
        if self._plan.processes == 1:
            return loss, ends
        gradients = [each.grad for each in self._network.parameters() if each.grad is not None]
        both = torch.cat([*(each.flatten() for each in gradients), torch.tensor([loss, float(ends)])])
        dist.all_reduce(both)
        means = both / self._plan.processes
        place = 0
        for each in gradients:
            each.copy_(means[place : place + each.numel()].view_as(each))
            place += each.numel()
        return float(means[-2]), bool(both[-1] > 0)

    def _keep_records(self, crops_before: int, *, is_last: bool) -> None:
        plan = self._plan
        evaluates = is_last or crops_before // plan.evaluate_every < self._crops // plan.evaluate_every
        if evaluates or crops_before // plan.report_every < self._crops // plan.report_every:
            row = Row(self._phase, self._crops, self._minutes(), float(np.mean(self._losses)))
            self._losses.clear()
            if evaluates:
                row = self._evaluated(row)
            if self._rank == 0:
                add_row(self._folder, row)
                draw_curves(read_rows(self._folder), self._folder / "curves.svg")
                logger.info("%s", row.sentence())
        if time.monotonic() - self._saved > plan.checkpoint_every_s:
            self._save()

    def _evaluated(self, row: Row) -> Row:
        """Returns the line with the metrics of the averaged weights; each process evaluates a share."""
        network: Any = self._average.module
        if self._phase == "dense":
            held_out = [number for number, each in enumerate(self._pictures.entries) if each.held_out]
            numbers = held_out[: self._plan.monitored][self._rank :: self._plan.processes]
            tables = self._gathered(confusion(network, self._pictures, numbers))
            return Row(**{**asdict(row), "mean_iou": mean_iou(np.sum(tables, axis=0))})
        targets = self._pictures.targets(held_out=True, least_px=LEAST_PX)
        # Of all pictures alike: a fixed sample in a fixed order.
        chosen = np.random.default_rng(0).permutation(len(targets))[: self._plan.monitored]
        mine = [targets[int(number)] for number in chosen[self._rank :: self._plan.processes]]
        runs = self._gathered(simulated_clicks(network, self._pictures, mine, most_clicks=MONITORED_CLICKS))
        metrics = click_metrics([run for share in runs for run in share], most_clicks=MONITORED_CLICKS)
        return Row(**{**asdict(row), "click_ious": metrics.ious})

    def _gathered(self, share: Any) -> list[Any]:
        shares = [share] * self._plan.processes
        if self._plan.processes > 1:
            dist.all_gather_object(shares, share)
        return shares

    def _new_optimizer(self) -> torch.optim.AdamW:
        return torch.optim.AdamW(self._network.parameters(), self._plan.learning_rate, weight_decay=WEIGHT_DECAY)

    def _save(self) -> None:
        self._saved = time.monotonic()
        if self._rank == 0:
            state = Checkpoint(
                self._plan.encoder,
                self._pictures.classes,
                self._phase,
                self._crops,
                self._minutes(),
                self._network.state_dict(),
                self._average.state_dict(),
                self._optimizer.state_dict(),
            )
            write_checkpoint(self._folder, state)

    def _seconds(self) -> float:
        return time.monotonic() - self._begun

    def _minutes(self) -> float:
        return self._minutes_before + self._seconds() / 60


def rate_share(done: float) -> float:
    """Returns the learning rate as a share of the highest, for a share of a phase: a warm-up, then half a cosine."""
    if done < WARM_UP_SHARE:
        return (done + 0.001) / WARM_UP_SHARE
    falling = (1 + math.cos(math.pi * (done - WARM_UP_SHARE) / (1 - WARM_UP_SHARE))) / 2
    return LAST_RATE_SHARE + (1 - LAST_RATE_SHARE) * falling


def _averaged(network: nn.Module, decay: float) -> AveragedModel:
    def average(averages: Any, weights: Any, updates: Tensor | int) -> None:
        # A shorter memory at first: else the random weights of the first steps would weigh the most for long.
        count = int(updates)
        update: Callable[..., None] = get_ema_multi_avg_fn(min(decay, (1 + count) / (10 + count)))
        update(averages, weights, count)

    return AveragedModel(network, multi_avg_fn=average, use_buffers=True)


def _run_in_process(rank: int, plan: Plan, folder: Path, rendezvous: Path) -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    dist.init_process_group("gloo", init_method=f"file://{rendezvous}", rank=rank, world_size=plan.processes)
    try:
        _Learner(plan, folder, rank=rank).run()
    finally:
        dist.destroy_process_group()


def _checked(plan: Plan, folder: Path) -> Checkpoint | None:
    """Returns the checkpoint to go on from, if there is one, once everything else is there, too."""
    pictures = open_pictures(folder / "pictures")
    Crops(pictures)
    network = PromptNetwork(plan.encoder, len(pictures.classes))
    if plan.start:
        load_exported(network, Path(plan.start))
    checkpoint = read_checkpoint(folder)
    if checkpoint and (checkpoint.encoder, checkpoint.classes) != (plan.encoder, pictures.classes):
        raise ModelError(
            f"{folder} holds a training of the encoder {checkpoint.encoder} with {len(checkpoint.classes)} classes, "
            f"not of {plan.encoder} with {len(pictures.classes)}. Train into another folder, or delete that one."
        )
    return checkpoint


def _is_complete(plan: Plan, checkpoint: Checkpoint | None) -> bool:
    return checkpoint is not None and checkpoint.phase == PHASES[-1] and checkpoint.crops >= plan.crops[-1]
