"""One pre-annotation job: from task ids to stored predictions. A task that fails does not stop the others."""

from __future__ import annotations

import logging
import time
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace

from redis.exceptions import RedisError
from rq import get_current_job

from backend.auto_accept.gate import CLOSED_GATE, gate_of
from backend.auto_accept.marks import accepted_regions, annotation_id
from backend.auto_accept.triage import triage
from backend.detector.preparation import read_preparation
from backend.domain import Prediction
from backend.errors import DrapeError, LabelStudioError, LabelStudioUnavailableError
from backend.label_studio.client import Project
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.label_studio.payloads import Task
from backend.predict.batch import ActiveModel, Outcome
from backend.prelabel.prepare_version import prepare_version
from backend.prelabel.task_claims import Holder
from backend.prelabel.worker_models import WorkerModels
from backend.queues.job_records import RETRIES
from backend.regions.selection import unknown_labels, unused_classes
from backend.telemetry.request_ids import request_id, set_request_id

logger = logging.getLogger(__name__)

WRITE_TASKS = 8
# Key in a job's record: the task that it works on.
IN_HAND = "in_hand"
# Longer than any write in which Label Studio updates only the tasks written.
SLOW_S = 5.0
SLOW = (
    "Label Studio took %.0f s to store %s predictions: it counts those of all tasks anew, unless one of its flags is "
    "set; see docs/guides/connect.md."
)


@dataclass
class Prelabelling:
    """The tasks of a job, and the results so far. `run` may be called again after it failed.

    Attributes:
        holder: the holder of the task claims, which are for the version in `queued_for`.
        asked: the name of the version that predicts; '' for the project's current one.
        contested: ids of tasks that another run of the job may write, too.
        review_scores: the scores of the images that are left for review.
    """

    models: WorkerModels
    project_id: int
    task_ids: Sequence[int]
    holder: Holder
    queued_for: str
    asked: str = ""
    contested: set[int] = field(default_factory=set)
    had: set[int] = field(default_factory=set)
    written: set[int] = field(default_factory=set)
    accepted: set[int] = field(default_factory=set)
    failed: set[int] = field(default_factory=set)
    clusters: dict[int, int] = field(default_factory=dict)
    review_scores: list[float] = field(default_factory=list)

    def counts(self) -> dict[str, int]:
        """Numbers of tasks by result."""
        return {
            "written": len(self.written),
            "accepted": len(self.accepted),
            "skipped": len(self.had - self.written),
            "failed": len(self.failed),
        }

    def run(self) -> None:
        """Predicts the tasks that have no prediction yet, and writes the predictions."""
        models = self.models
        self._prepare()
        current = models.batch.active_model(self.project_id, version_name=self.asked)
        if current is None:
            logger.info("Project %s has no model yet, and nothing here reads words", self.project_id)
            return
        version = current.version
        if self.queued_for != (version if current.number else ""):
            # Promoted since the job began, or not to be fetched yet: jobs for the project's model are queued, and two
            # jobs that both wrote this version would write each prediction twice.
            logger.info("The tasks of project %s are left to jobs for %s", self.project_id, version)
            self.had.update(self.task_ids)
            return
        with ThreadPoolExecutor(1, initializer=set_request_id, initargs=(request_id(),)) as pool:
            # In parallel, as Label Studio is slow to answer each of these two requests.
            later = pool.submit(models.connections.label_studio.project, self.project_id)
            tasks = models.connections.label_studio.unpredicted_tasks(self.project_id, self.task_ids, version=version)
            project = later.result()
        config = parse_label_config(project.label_config)
        self._report_unknown_labels(current, config)
        not_waiting = set(self.task_ids) - {int(task["id"]) for task in tasks}
        if not_waiting:
            self.had.update(models.connections.label_studio.task_ids(self.project_id, among=sorted(not_waiting)))
        for deleted in sorted(not_waiting - self.had):
            self._fail(deleted, "The task was deleted.")
        waiting = [Task.model_validate(task) for task in tasks if int(task["id"]) not in self.failed]
        # A skip is a person's decision about the image, too.
        counts = ("total_annotations", "cancelled_annotations")
        annotated = {int(task["id"]) for task in tasks if any(task.get(count) for count in counts)}
        # Closes the generator even after an error: it holds the detector, which a retry needs.
        with (
            ThreadPoolExecutor(1, initializer=set_request_id, initargs=(request_id(),)) as writer,
            closing(self._outcomes(waiting, config, current)) as outcomes,
        ):
            ready: list[Outcome] = []
            pending: Future[None] | None = None
            for outcome in outcomes:
                ready.append(outcome)
                # Outcomes collect while a write goes on: the slower the writes, the larger the batches.
                if len(ready) >= WRITE_TASKS and (pending is None or pending.done()):
                    if pending is not None:
                        pending.result()
                    pending = writer.submit(self._write, ready, config, annotated, version)
                    ready = []
            if pending is not None:
                pending.result()
            self._write(ready, config, annotated, version)
        self._delete_second_predictions(version)
        models.marks.failed(self.project_id, self.asked or models.version(self.project_id), self.failed)
        self._finish(project, version)
        self._show_progress()

    def _outcomes(
        self, tasks: Sequence[Task], config: LabelConfig, current: ActiveModel
    ) -> Generator[Outcome, None, None]:
        """Yields the outcomes that have a prediction; reports all problems."""
        with closing(self._in_groups(tasks)) as groups:
            for outcome in (each for group in groups for each in self.models.batch.predict(group, config, current)):
                if outcome.prediction is None:
                    self._fail(outcome.task_id, outcome.problem or "Nothing answered.")
                    continue
                yield outcome

    def _in_groups(self, tasks: Sequence[Task]) -> Generator[Sequence[Task], None, None]:
        """Yields all tasks at once; in a job whose worker died, each alone, and first notes it in the job's record.

        A task that is still noted when such a job begins killed its worker: it is reported, and left out.
        """
        job = get_current_job()
        if job is None or job.retries_left is None or job.retries_left >= RETRIES:
            yield tasks
            return
        killer = job.meta.pop(IN_HAND, None)
        if killer is not None:
            self._fail(killer, "The worker died while it predicted this image, most likely for lack of memory.")
            self.models.marks.failed(self.project_id, self.queued_for, [killer])
        harmless = self.models.marks.without_failed(self.project_id, self.queued_for, [task.id for task in tasks])
        try:
            for task in tasks:
                if task.id in harmless:
                    job.meta[IN_HAND] = task.id
                    job.save_meta()
                    yield [task]
        finally:
            job.meta.pop(IN_HAND, None)
            self._show_progress()

    def _gated(self, outcomes: list[Outcome], config: LabelConfig, annotated: set[int]) -> list[Outcome]:
        """Accepts predictions that pass the gate, and prepares the others for people; the caller stores all of them.

        Accepts before they are stored: if the job dies in between, its retry finds no prediction and comes here again.
        """
        version = self.models.connections.registry.champion(self.project_id)
        gate = (
            gate_of(version, self.models.connections.settings.for_project(self.project_id)) if version else CLOSED_GATE
        )
        if not gate.is_open:
            return outcomes
        predictions = {
            outcome.task_id: outcome.prediction
            for outcome in outcomes
            if outcome.prediction is not None
            and outcome.prediction.model_version == gate.version
            and outcome.task_id not in annotated
        }
        divided = triage(gate, predictions, config, review_scores=self.review_scores)
        self.review_scores += divided.review_scores
        for task_id, prediction in divided.accepted.items():
            self._accept(task_id, prediction)
        return [
            replace(outcome, prediction=divided.shown.get(outcome.task_id, outcome.prediction)) for outcome in outcomes
        ]

    def _accept(self, task_id: int, prediction: Prediction) -> None:
        version = prediction.model_version
        unique_id = annotation_id(self.project_id, task_id, version)
        try:
            regions = accepted_regions(prediction.regions, version)
            self.models.connections.label_studio.accept(task_id, regions, unique_id=unique_id)
            self.accepted.add(task_id)
        except LabelStudioUnavailableError:
            raise
        except LabelStudioError as e:
            self.models.connections.problems.report(
                f"The prediction was not accepted, and waits for review: {e}",
                project_id=self.project_id,
                task_id=task_id,
            )

    def _write(self, outcomes: list[Outcome], config: LabelConfig, annotated: set[int], version: str) -> None:
        gated = self._gated(self._without_lost(outcomes), config, annotated)
        answered = self.models.marks.recently_answered(self.project_id, version, [outcome.task_id for outcome in gated])
        pairs = [
            (outcome.task_id, outcome.prediction)
            for outcome in gated
            if outcome.prediction and outcome.task_id not in answered
        ]
        stored = self._store(pairs)
        self.written.update(stored)
        self._without_lost(gated)
        self.models.pace.predicted(len(stored))
        self._show_progress()

    def _without_lost(self, outcomes: list[Outcome]) -> list[Outcome]:
        """Outcomes of tasks that no later run holds: it takes over from a worker that was silent for too long."""
        task_ids = [outcome.task_id for outcome in outcomes]
        try:
            holders = self.models.claims.holders(self.project_id, self.queued_for, task_ids)
        except RedisError:
            return outcomes
        # Without a claim, a later run may have come to its end: such tasks are written, and looked at again.
        self.contested.update(task_id for task_id, holder in holders.items() if holder != str(self.holder))
        lost = {task_id for task_id, holder in holders.items() if holder not in ("", str(self.holder))}
        if lost:
            logger.warning("%s tasks of project %s are left to a later run of the job", len(lost), self.project_id)
            self.had |= lost
        return [outcome for outcome in outcomes if outcome.task_id not in lost]

    def _delete_second_predictions(self, version: str) -> None:
        """Leaves each contested task its first prediction of the version.

        A write that was under way when the network failed arrives once the network is back, whoever holds the claims
        by then. Both runs come here after their writes, so that the later one sees both predictions.
        """
        label_studio = self.models.connections.label_studio
        for task in label_studio.tasks(self.project_id, sorted(self.contested)):
            ids = sorted(
                int(prediction["id"]) for prediction in task["predictions"] if prediction["model_version"] == version
            )
            for second in ids[1:]:
                label_studio.delete_prediction(second)

    def _store(self, pairs: list[tuple[int, Prediction]]) -> list[int]:
        """Writes the predictions; returns the ids of the tasks whose prediction is stored."""
        begun = time.monotonic()
        try:
            self.models.connections.label_studio.write_predictions(self.project_id, pairs)
        except LabelStudioUnavailableError:
            # Label Studio may have stored them, though its answer did not arrive.
            self.contested.update(task_id for task_id, _ in pairs)
            raise
        except LabelStudioError as e:
            logger.warning("Writing %s predictions at once failed, trying one by one: %s", len(pairs), e)
            return [task_id for task_id, prediction in pairs if self._write_one(task_id, prediction)]
        took_s = time.monotonic() - begun
        if took_s > SLOW_S:
            logger.warning(SLOW, took_s, len(pairs))
        self.clusters.update(
            {task_id: prediction.cluster for task_id, prediction in pairs if prediction.cluster is not None}
        )
        return [task_id for task_id, _ in pairs]

    def _write_one(self, task_id: int, prediction: Prediction) -> bool:
        try:
            self.models.connections.label_studio.write_prediction(task_id, prediction)
        except LabelStudioUnavailableError:
            raise
        except DrapeError as e:
            self._fail(task_id, f"The prediction was not stored: {e}")
            return False
        return True

    def _finish(self, project: Project, version: str) -> None:
        if self.asked and self.asked != self.models.version(self.project_id):
            # Predictions for comparison only: annotators still see those of the current model.
            return
        # Not done at the promotion, as Label Studio refuses a version of which it holds no prediction yet.
        if self.written and project.model_version != version:
            self.models.connections.label_studio.show_model_version(self.project_id, version)
        if self.clusters and project.by_uncertainty:
            self.models.connections.queues.enqueue_clusters(self.project_id, version, self.clusters)

    def _prepare(self) -> None:
        """Prepares a model version that was not prepared at its promotion: the starter, or a version from elsewhere."""
        registry = self.models.connections.registry
        version = registry.version(self.project_id, self.asked) if self.asked else registry.champion(self.project_id)
        if version is None or read_preparation(version) is not None:
            return
        prepare_version(self.models.connections.settings, self.project_id, version.name)

    def _report_unknown_labels(self, current: ActiveModel, config: LabelConfig) -> None:
        """Reports, once a day per version, labels that the model does not know; logs its classes that are no labels."""
        if current.classes is None or not self.models.marks.first_time(f"{self.project_id}:{current.version}:labels"):
            return
        unknown = sorted(unknown_labels(config, current.classes))
        unused = sorted(unused_classes(config, current.classes))
        if unknown:
            self.models.connections.problems.report(
                f"The model {current.version} does not know {', '.join(map(repr, unknown))}: draw them by hand until "
                "enough are approved for a training.",
                project_id=self.project_id,
            )
        if unused:
            logger.info("%s finds %s, which are no labels of project %s", current.version, unused, self.project_id)

    def _fail(self, task_id: int, reason: str) -> None:
        self.failed.add(task_id)
        self.models.connections.problems.report(reason, project_id=self.project_id, task_id=task_id)

    def _show_progress(self) -> None:
        job = get_current_job()
        if job is None:
            return
        job.meta.update(self.counts(), done=len(self.had | self.written), total=len(self.task_ids))
        try:
            job.save_meta()
        except RedisError:
            logger.warning("Redis does not answer: the progress of job %s is not shown", job.id)
