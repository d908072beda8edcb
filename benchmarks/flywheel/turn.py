"""Trainings, judging and labelling in turn, at a running `drape up`."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path

from rich.progress import Progress, TaskID
from rq.exceptions import NoSuchJobError
from rq.job import Job, JobStatus

from backend.errors import LabelStudioError, ModelError
from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.queues.queues import TRAIN, Queues
from backend.registry.registry import Registry, Version
from backend.registry.verdict import Verdict, read_verdict
from backend.settings import Settings
from benchmarks.flywheel.annotators import Annotators
from benchmarks.flywheel.generation import Generation, Plan, Run
from benchmarks.flywheel.judge import judge
from benchmarks.flywheel.photographs import Photographs
from benchmarks.services import stack_settings, wait_until_done
from label_studio_config.provision import give_starter_model
from launcher.stack.stack import Ready
from launcher.stack.supervisor import tail

# Few held-out labels prove no more.
PROMISED = 0.9
# Label Studio drops the event of a webhook that is not answered within a second: the timer then finds what it told.
CHECK_EVERY_S = 60
TRAINING_TIMEOUT_S = 6 * 3600.0
POLL_S = 0.5
UNFINISHED = (JobStatus.QUEUED, JobStatus.STARTED, JobStatus.DEFERRED, JobStatus.SCHEDULED)


@dataclass(frozen=True)
class Trained:
    """What came of a training, and how long its job took; None where its job is no longer known."""

    version: Version
    verdict: Verdict
    seconds: float | None


class Flywheel:
    """A running `drape up`, the annotators at its Label Studio, and what is measured beside them."""

    def __init__(self, ready: Ready, photographs: Photographs, plan: Plan, progress: Progress) -> None:
        self._settings, self._project_id = ready.settings, ready.project_id
        self._queues, self._registry = Queues(self._settings), Registry.of(self._settings)
        self._photographs, self._plan, self._progress = photographs, plan, progress
        self._began = datetime.now(timezone.utc)
        self._studio = LabelStudio(self._settings)
        self._config: LabelConfig = parse_label_config(self._studio.project(ready.project_id).label_config)
        self._annotators = Annotators(
            self._studio,
            ready.project_id,
            _backend_id(self._studio, ready.project_id),
            self._config,
            self._settings.outlining,
            photographs.truth,
        )

    def turn(self, run: Run) -> Iterator[Run]:
        """Goes on with a run, and yields it after each image and each training, until it has all its generations.

        The last labels start one more training, which nobody waits for.

        Raises:
            LabelStudioError, ModelError, QueueError: as their names say; a training failed, or never ended.
        """
        for number in range(max(len(run.generations) - 1, 0), self._plan.generations + 1):
            if number == len(run.generations):
                run = replace(run, generations=(*run.generations, self._begin(number)))
                yield run
            *before, generation = run.generations
            # Label Studio is the record: an image may have been submitted as the run was stopped.
            left = self._plan.labels * (number + 1) - self._studio.count_annotated(self._project_id)
            with self._progress_task(f"Generation {number}: labelling", max(left, 0)) as task:
                for _ in range(left):
                    generation = replace(generation, works=(*generation.works, self._annotators.label_next()))
                    run = replace(run, generations=(*before, generation))
                    yield run
                    self._progress.advance(task)
        yield replace(run, is_finished=True)

    def _begin(self, number: int) -> Generation:
        """Waits for the generation's training and pre-annotations, and has the champion judged."""
        trained = self._wait_for_training(number) if number else None
        if self._plan.starter:
            give_starter_model(self._project_id, self._settings)
            self._queues.enqueue_plan(self._project_id)
        champion = self._registry.champion(self._project_id)
        if champion is not None:
            with self._progress_task(f"Generation {number}: pre-annotating"):
                wait_until_done(self._settings, self._project_id, champion.name, poll_s=POLL_S)
        gated = self._settings.model_copy(update={"auto_accept": "calibrated"})
        with self._progress_task(f"Generation {number}: judging"):
            judged = judge(champion, self._photographs.judged, self._config, gated)
        return Generation(
            generation=number,
            version=trained.version.name if trained else "",
            promoted=bool(trained and trained.verdict.promoted),
            reason=trained.verdict.reason if trained else "Nothing is trained yet.",
            champion=champion.name if champion else "",
            training_seconds=trained.seconds if trained else None,
            judged=judged,
        )

    def _wait_for_training(self, number: int) -> Trained:
        """Returns the `number`th version, once its training has ended with a verdict."""
        deadline = time.monotonic() + TRAINING_TIMEOUT_S
        with self._progress_task(f"Generation {number}: training") as task:
            while True:
                job = self._training()
                # As it was fetched: a finished job is deleted as the next of its name is queued.
                status = job.get_status(refresh=False) if job else None
                versions = self._registry.versions(self._project_id)
                verdict = read_verdict(versions[-1]) if len(versions) >= number else None
                if verdict and status not in UNFINISHED:
                    return Trained(versions[-1], verdict, _seconds(job))
                if (job and self._has_failed(job)) or time.monotonic() > deadline:
                    log = self._settings.data_dir / "logs" / "worker-train.log"
                    raise ModelError(f"Training {number} failed or never ended. The end of its log:\n{tail(log)}")
                if job:
                    self._progress.update(task, completed=job.meta.get("epoch"), total=job.meta.get("epochs"))
                time.sleep(POLL_S)

    def _training(self) -> Job | None:
        """Returns the project's latest training; None before the first."""
        try:
            return Job.fetch(f"{TRAIN}-{self._project_id}", connection=self._queues.redis)
        except NoSuchJobError:
            return None

    def _has_failed(self, job: Job) -> bool:
        """Whether a training has failed since this run began or went on: one that was stopped before begins anew."""
        is_new = job.ended_at is not None and job.ended_at >= self._began
        return is_new and job.get_status(refresh=False) == JobStatus.FAILED

    @contextmanager
    def _progress_task(self, what: str, total: int | None = None) -> Iterator[TaskID]:
        task = self._progress.add_task(what, total=total)
        try:
            yield task
        finally:
            self._progress.remove_task(task)


def settings_for(plan: Plan, folder: Path) -> Settings:
    """Returns what the flywheel runs with; as in the environment where it matters to neither result nor clean-up."""
    # All predictions go to people: what the gate would accept is measured on the photographs that judge.
    return stack_settings(
        folder,
        prewarm_tasks=0,
        yolo11_base=plan.initial,
        # A batch smaller than what is usually needed would wait for the next one. Where none is wanted, none is begun.
        retrain_after=plan.labels if plan.generations else 2 * plan.labels,
        retrain_min_images=min(Settings().retrain_min_images, plan.labels),
        check_every_s=CHECK_EVERY_S,
        train_epochs=plan.epochs,
        train_image_size_px=plan.side_px,
        # A garment is one polygon whatever its parts, so that what an annotator corrects is what is counted.
        polygon_parts="joined",
        auto_accept_precision=PROMISED,
        refine=plan.refine,
    )


def _backend_id(studio: LabelStudio, project_id: int) -> int:
    with studio.api() as sdk:
        connected = sdk.ml.list(project=project_id)
    if not connected:
        raise LabelStudioError(f"No backend is connected to project {project_id}.")
    return int(connected[0].id or 0)


def _seconds(job: Job | None) -> float | None:
    if job is None or job.started_at is None or job.ended_at is None:
        return None
    return (job.ended_at - job.started_at).total_seconds()
