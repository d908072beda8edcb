"""Turns the whole flywheel, with simulated annotators and a real everything else: `make flywheel`.

`drape up` runs in a folder of its own, with its Label Studio, its Redis, its backend and its workers, over a project of
drawn figures that has no model. Annotators label some as Label Studio serves them; its webhook tells the backend, a
count starts a training, the new model is judged, and where it is promoted it predicts what is left; then they label
more, starting from that. Nothing here starts a training. Every generation's champion is measured on the same hundred
figures that nobody labels.

The first model starts from the one that comes with the demo, which knows the borders of drawn figures, but none of the
names that their garments have here: its class head begins anew. A garment is one polygon here whatever its parts
(`POLYGON_PARTS=joined`), so that what an annotator corrects is what is counted. Every prediction goes to people: the
share that the gate would accept is measured on the unseen figures, at a promise of 90 %, since so few held-out labels
prove no more.
"""

from __future__ import annotations

import logging
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus

from backend.detector.starter import STARTER
from backend.errors import ModelError
from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.queues.queues import TRAIN, Queues
from backend.registry.registry import Registry, Version
from backend.registry.verdict import read_verdict
from backend.settings import Settings
from benchmarks.command import exit_on_known_errors
from benchmarks.flywheel.annotators import Annotators, Correction, Effort
from benchmarks.flywheel.report import Generation, markdown, plot, table
from benchmarks.flywheel.unseen import UnseenResult, evaluate_unseen, unseen_figures
from benchmarks.flywheel.vocabulary import NAMES, SEED
from benchmarks.parts.next_label import POOL_FROM, Figures
from benchmarks.services import wait_until_done
from benchmarks.table import write_json
from label_studio_config.demo.write import write_images
from label_studio_config.palette_xml import palette
from launcher.stack.stack import Options, Ready, Stack
from launcher.stack.supervisor import free_port, tail

IMAGE_SIZE_PX = 256
PROMISED = 0.9
# Label Studio drops the event of a webhook that is not answered within a second: the timer then finds what it told.
CHECK_EVERY_S = 60
TRAINING_TIMEOUT_S = 3600.0
POLL_S = 0.5


@dataclass(frozen=True)
class Size:
    """How much is done: trainings, images labelled before each, epochs of each, and images in the project."""

    generations: int
    labels: int
    epochs: int
    images: int


@dataclass(frozen=True)
class Trained:
    """What came of a training, and how long its job took."""

    version: Version
    promoted: bool
    reason: str
    seconds: float


class Flywheel:
    """A running `drape up`, the annotators at its Label Studio, and what is measured beside them."""

    def __init__(self, ready: Ready, figures: Figures, progress: Progress) -> None:
        self._settings, self._project_id = ready.settings, ready.project_id
        self._queues, self._registry = Queues(self._settings), Registry.of(self._settings)
        self._unseen, self._progress = figures, progress
        studio = LabelStudio(self._settings)
        self._config: LabelConfig = parse_label_config(studio.project(ready.project_id).label_config)
        seeds = {
            int(task["id"]): int(Path(task["data"]["image"]).stem.rsplit("_", 1)[-1])
            for task in studio.tasks(ready.project_id, studio.task_ids(ready.project_id))
        }
        self._annotators = Annotators(
            studio, ready.studio_url, ready.project_id, self._config, self._settings.outlining, seeds
        )

    def turn(self, size: Size) -> Iterator[Generation]:
        """The generations, each as its images are labelled; the last labels start one more training, which nobody
        waits for.

        Raises:
            LabelStudioError, ModelError, QueueError: as their names say; a training failed, or never ended.
        """
        for number in range(size.generations + 1):
            trained = self._wait_for_training(number) if number else None
            champion = self._registry.champion(self._project_id)
            if champion is not None:
                with self._progress_task(f"Generation {number}: pre-annotating"):
                    wait_until_done(self._settings, self._project_id, champion.name, poll_s=POLL_S)
            unseen_result = self._measure(number, champion)
            yield generation_of(number, trained, champion, unseen_result, self._label(number, size.labels))

    def _measure(self, number: int, champion: Version | None) -> UnseenResult:
        gated = self._settings.model_copy(update={"auto_accept": "calibrated"})
        with self._progress_task(f"Generation {number}: measuring"):
            return evaluate_unseen(champion, self._unseen, self._config, gated)

    def _label(self, number: int, images: int) -> list[Correction]:
        corrections = []
        with self._progress_task(f"Generation {number}: labelling", images) as task:
            for correction in self._annotators.label(images):
                corrections.append(correction)
                self._progress.advance(task)
        return corrections

    def _wait_for_training(self, number: int) -> Trained:
        """The `number`th version, once its training has ended with a verdict."""
        deadline = time.monotonic() + TRAINING_TIMEOUT_S
        with self._progress_task(f"Generation {number}: training") as task:
            while True:
                job = self._training()
                # As it was fetched: a finished job is deleted as the next of its name is queued.
                status = job.get_status(refresh=False) if job else None
                versions = self._registry.versions(self._project_id)
                verdict = read_verdict(versions[-1]) if len(versions) >= number else None
                if verdict and status == JobStatus.FINISHED and job and job.started_at and job.ended_at:
                    took_s = (job.ended_at - job.started_at).total_seconds()
                    return Trained(versions[-1], verdict.promoted, verdict.reason, took_s)
                if status == JobStatus.FAILED or time.monotonic() > deadline:
                    log = self._settings.data_dir / "logs" / "worker-train.log"
                    raise ModelError(f"Training {number} failed or never ended. The end of its log:\n{tail(log)}")
                if job:
                    self._progress.update(task, completed=job.meta.get("epoch"), total=job.meta.get("epochs"))
                time.sleep(POLL_S)

    def _training(self) -> Job | None:
        """The project's latest training; None before the first."""
        try:
            return Job.fetch(f"{TRAIN}-{self._project_id}", connection=self._queues.redis)
        except NoSuchJobError:
            return None

    @contextmanager
    def _progress_task(self, what: str, total: int | None = None) -> Iterator[TaskID]:
        task = self._progress.add_task(what, total=total)
        try:
            yield task
        finally:
            self._progress.remove_task(task)


def generation_of(
    number: int,
    trained: Trained | None,
    champion: Version | None,
    unseen_result: UnseenResult,
    corrections: Sequence[Correction],
) -> Generation:
    """What one turn is worth.

    Args:
        unseen_result: what the champion did with the unseen figures.
        corrections: what was done to the images that were labelled in this turn.
    """
    with_model, by_hand, sam_alone = efforts(corrections)
    unseen, unseen_by_hand, unseen_sam_alone = efforts(unseen_result.corrections)
    shown = sum(correction.shown for correction in corrections)
    return Generation(
        generation=number,
        version=trained.version.name if trained else "",
        promoted=bool(trained and trained.promoted),
        reason=trained.reason if trained else "There is no model yet.",
        champion=champion.name if champion else "",
        labels=number * len(corrections),
        mask_map50_95=unseen_result.mask_map50_95,
        images_auto_acceptable=unseen_result.images_accepted,
        regions_auto_acceptable=unseen_result.regions_accepted,
        clicks_an_image=with_model.clicks,
        seconds_an_image=with_model.seconds,
        by_hand_clicks_an_image=by_hand.clicks,
        by_hand_seconds_an_image=by_hand.seconds,
        sam_alone_clicks_an_image=sam_alone.clicks,
        sam_alone_seconds_an_image=sam_alone.seconds,
        kept_share=sum(len(correction.kept) for correction in corrections) / shown if shown else None,
        unseen_clicks_an_image=unseen.clicks,
        unseen_seconds_an_image=unseen.seconds,
        unseen_by_hand_seconds_an_image=unseen_by_hand.seconds,
        unseen_sam_alone_seconds_an_image=unseen_sam_alone.seconds,
        training_seconds=trained.seconds if trained else 0.0,
    )


def efforts(corrections: Sequence[Correction]) -> tuple[Effort, Effort, Effort]:
    """Means over images: from what was shown, by hand, and with SAM alone."""
    return (
        _mean([correction.effort() for correction in corrections]),
        _mean([correction.by_hand() for correction in corrections]),
        _mean([correction.sam_alone() for correction in corrections]),
    )


def _mean(efforts: Sequence[Effort]) -> Effort:
    clicks, seconds = np.mean([(effort.clicks, effort.seconds) for effort in efforts], axis=0)
    return Effort(float(clicks), float(seconds))


def settings_for(size: Size, folder: Path) -> Settings:
    """What the flywheel runs with; as in the environment where it matters to neither comparison nor clean-up."""
    return Settings(
        data_dir=folder,
        model_dir=None,
        port=free_port(),
        label_studio_url="",
        label_studio_api_key="",
        redis_url="",
        segmenter="builtin",
        prewarm_tasks=0,
        yolo11_base=str(STARTER),
        approval="submitted",
        # A batch smaller than what is usually needed would wait for the next one.
        retrain_after=size.labels,
        retrain_min_images=min(Settings().retrain_min_images, size.labels),
        check_every_s=CHECK_EVERY_S,
        train_epochs=size.epochs,
        train_image_size_px=IMAGE_SIZE_PX,
        train_args=f"seed={SEED}",
        polygon_parts="joined",
        auto_accept="off",
        auto_accept_precision=PROMISED,
    )


def run(size: Size, json_path: Path, console: Console) -> list[Generation]:
    """Sets all of it up, turns it, and ends it; what is measured is written after every generation.

    Raises:
        DrapeError, LauncherError: something does not start, or a step failed.
    """
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    generations: list[Generation] = []
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder = Path(name)
        console.print(f"Drawing {size.images} figures, and those that nobody labels …")
        write_images(folder / "figures", range(POOL_FROM, POOL_FROM + size.images))
        figures = unseen_figures(folder / "unseen")
        settings = settings_for(size, folder / "data")
        options = Options(
            studio_port=free_port(),
            redis_port=free_port(),
            images=folder / "figures",
            label_config=palette(tuple(NAMES.values())),
        )
        console.print("Starting Redis, Label Studio, the backend and its workers …")
        with (
            Stack(settings, options).running() as ready,
            Progress(*columns, console=console, transient=True) as progress,
        ):
            for generation in Flywheel(ready, figures, progress).turn(size):
                generations.append(generation)
                write_json(generations, json_path)
                console.print(
                    f"Generation {generation.generation}: {generation.labels} labels, "
                    f"mask mAP50-95 {generation.mask_map50_95:.3f}, {generation.seconds_an_image:.1f} s per image. "
                    f"{generation.reason}",
                    markup=False,
                )
    return generations


def main(
    generations: Annotated[int, typer.Option(min=1, help="Trainings, one after another.")] = 6,
    labels: Annotated[int, typer.Option(min=2, help="Images that are labelled before each.")] = 30,
    epochs: Annotated[int, typer.Option(min=1, help="Epochs of each.")] = 30,
    images: Annotated[int, typer.Option(min=1, help="Drawn figures in the project.")] = 300,
    into: Annotated[Path, typer.Option(help="The JSON file that is written, the plot beside it.")] = Path(
        "var/flywheel.json"
    ),
) -> None:
    """Turns the flywheel and tells what each generation is worth. Best alone on the machine."""
    if images < labels * (generations + 1):
        raise typer.BadParameter(f"{labels * (generations + 1)} images are labelled.", param_hint="--images")
    logging.getLogger("httpx").setLevel(logging.WARNING)
    console = Console(width=None if sys.stdout.isatty() else 160)
    started = time.monotonic()
    with exit_on_known_errors(console):
        generations_measured = run(Size(generations, labels, epochs, images), into, console)
    plot(generations_measured, into.with_suffix(".png"))
    console.print(table(generations_measured))
    console.print(markdown(generations_measured), markup=False, highlight=False, soft_wrap=True)
    minutes = (time.monotonic() - started) / 60
    console.print(f"Written to {into} and {into.with_suffix('.png')} after {minutes:.0f} minutes.")


if __name__ == "__main__":
    typer.run(main)
