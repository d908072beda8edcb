"""How many labels the order that Label Studio's uncertainty sampling serves saves, on photographs.

Of some photographs the first model is trained; then, round by round, more are labelled, and the next model is trained
on all of them from the same start. All orders of a seed have the first photographs in common, and that model.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from backend.domain import LabelScore
from backend.errors import DatasetError
from backend.label_studio.label_config import LabelConfig
from backend.predict.batch import image_score
from backend.settings import Settings
from backend.storage.atomic_files import write_atomically
from benchmarks.photographs.schedule import Training, train_once
from benchmarks.serving_order import Curve, score_and_group, served
from training.evaluation.held_out import HeldOut
from training.finetuning.progress import TrainingProgress
from training.garment_base.photograph_set import load_weights

CHANCE, SERVED = "by chance", "as served"
# The two halves of the served order, each alone: they tell which of them is worth something.
BY_SCORE, BY_CLUSTER = "by score", "by cluster"
# As served, if an image's score were the mean of its garments' scores, not the lowest.
BY_MEAN = "by cluster and mean"
ORDERS = (SERVED, BY_SCORE, BY_CLUSTER, BY_MEAN)
RESULTS = "order.json"


@dataclass(frozen=True)
class Plan:
    """What is the same in all trainings of a comparison.

    Attributes:
        batch: photographs that are labelled in each round.
        updates: as in `TRAIN_UPDATES`.
        image_size_px: the longer side of the photographs, in training and when they are judged.
        initial: the file of the weights that every training starts from.
    """

    batch: int
    updates: int
    image_size_px: int
    initial: str


@dataclass(frozen=True)
class Step:
    """A model: the photographs of the pool that it was trained on, by number, and how good it is."""

    order: str
    seed: int
    labelled: tuple[int, ...]
    mask_map50: float
    mask_map: float
    weights: str


@dataclass(frozen=True)
class Comparison:
    """Trains and judges on demand, and keeps every model that is there: a comparison that was stopped goes on.

    Attributes:
        pool: the photographs that may be labelled.
        judge: the photographs that judge.
        into: the folder of weights and results.
    """

    plan: Plan
    pool: Sequence[HeldOut]
    judge: Sequence[HeldOut]
    config: LabelConfig
    settings: Settings
    into: Path
    report: Callable[[TrainingProgress], None]

    def next_step(self, order: str, seed: int, steps: Sequence[Step]) -> Step:
        """Returns the model after `steps`, those of this order and seed so far."""
        shuffled = [int(index) for index in np.random.default_rng(seed).permutation(len(self.pool))]
        labelled = shuffled[: self.plan.batch] if not steps else self._label(order, steps[-1], shuffled)
        return self._train(order, seed, tuple(labelled))

    def _label(self, order: str, last: Step, shuffled: Sequence[int]) -> list[int]:
        """Returns what is labelled after one more round; by chance that is what comes next in `shuffled`."""
        if order == CHANCE:
            return list(shuffled[: len(last.labelled) + self.plan.batch])
        detector = load_weights(self.into / last.weights, image_size_px=self.plan.image_size_px)
        images = (photograph.image for photograph in self.pool)
        score = mean_score if order == BY_MEAN else image_score
        scores, clusters = score_and_group(detector, images, self.config, self.settings, score=score)
        if order == BY_SCORE:
            clusters = (0,) * len(clusters)
        if order == BY_CLUSTER:
            scores = tuple(float(rank) for rank in np.argsort(shuffled))
        return [*last.labelled, *served(scores, clusters, last.labelled, self.plan.batch)]

    def _train(self, order: str, seed: int, labelled: tuple[int, ...]) -> Step:
        weights = f"{order.replace(' ', '-')}-{seed}-{len(labelled)}.pt"
        result = train_once(
            Training(seed, self.plan.image_size_px, Path(self.plan.initial)),
            [self.pool[index] for index in sorted(labelled)],
            self.judge,
            self.config,
            self.settings.model_copy(update={"train_updates": self.plan.updates}),
            weights_into=self.into / weights,
            report=self.report,
        )
        return Step(order, seed, labelled, result.mask_map50, result.mask_map, weights)


def compare_orders(
    comparison: Comparison,
    *,
    orders: Sequence[str],
    seeds: Sequence[int],
    rounds: int,
    report: Callable[[Step], None],
) -> list[Step]:
    """Trains and judges each order with each seed, a round of all before the next, and goes on where it was stopped.

    Raises:
        DatasetError: the folder holds the results of another plan, or there are too few photographs.
        ModelError: a training failed.
    """
    if (needed := rounds * comparison.plan.batch) > len(comparison.pool):
        raise DatasetError(f"{needed} photographs are labelled, and there are {len(comparison.pool)} to learn from.")
    comparison.into.mkdir(parents=True, exist_ok=True)
    steps = read_steps(comparison.into / RESULTS, comparison.plan)
    for number in range(rounds):
        for seed in seeds:
            for order in orders:
                done = [step for step in steps if (step.order, step.seed) == (order, seed)]
                if len(done) > number:
                    continue
                # The first photographs are the same for all orders of a seed.
                first = [step for step in steps if step.seed == seed and len(step.labelled) == comparison.plan.batch]
                if number == 0 and first:
                    step = Step(**{**asdict(first[0]), "order": order})
                else:
                    step = comparison.next_step(order, seed, done)
                steps.append(step)
                kept = {"plan": asdict(comparison.plan), "steps": [asdict(one) for one in steps]}
                write_atomically(comparison.into / RESULTS, json.dumps(kept, indent=1))
                report(step)
    return [step for step in steps if step.order in orders and step.seed in seeds]


def read_steps(path: Path, plan: Plan) -> list[Step]:
    """Returns what was measured before by the same plan.

    Raises:
        DatasetError: the file holds the results of another plan.
    """
    if not path.is_file():
        return []
    kept = json.loads(path.read_text())
    if kept["plan"] != asdict(plan):
        raise DatasetError(f"{path} holds results of {kept['plan']}. Delete it, or name another folder with --into.")
    return [Step(**{**step, "labelled": tuple(step["labelled"])}) for step in kept["steps"]]


def mean_score(label_scores: Sequence[LabelScore], *, nothing: float) -> float:
    """Returns the mean score of an image's garments; `nothing` where it has none."""
    return sum(garment.score for garment in label_scores) / len(label_scores) if label_scores else nothing


def curves_of(steps: Sequence[Step]) -> list[Curve]:
    """Returns a curve for each order and seed, as many rounds as all of them have."""
    pairs = dict.fromkeys((step.order, step.seed) for step in steps)
    groups = [[step for step in steps if (step.order, step.seed) == pair] for pair in pairs]
    rounds = min(len(group) for group in groups)
    return [
        Curve(
            group[0].order,
            group[0].seed,
            tuple(len(step.labelled) for step in group[:rounds]),
            tuple(step.mask_map for step in group[:rounds]),
        )
        for group in groups
    ]
