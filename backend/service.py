"""What the service does for each of Label Studio's requests, without HTTP; `app.py` and `model.py` call it."""

from __future__ import annotations

import functools
import logging
import time
from dataclasses import asdict, dataclass
from typing import Any

import cv2

from backend.auto_accept.marks import accepted_by, is_marked
from backend.connections import Connections
from backend.detector.detector_pool import DetectorPool
from backend.domain import Prediction
from backend.errors import DrapeError, LabelConfigError, QueueError
from backend.images.fetch import ImageStore
from backend.label_studio.label_config import NO_MESSAGE_TAG, LabelConfig, parse_label_config
from backend.label_studio.payloads import PredictRequest, Task, WebhookEvent
from backend.predict.batch import Batch
from backend.predict.interactive import LOADING_TIMEOUT_S, Interactive
from backend.predict.prewarm import Prewarmer
from backend.predict.sticky_words import StickyWords
from backend.prelabel.pace import Pace
from backend.prelabel.task_marks import TaskMarks
from backend.queues.event_inbox import EventWork, Inbox
from backend.queues.queue_metrics import QueueMetrics
from backend.queues.redis_connection import REDIS_TIMEOUT_S
from backend.segmenters.builtin.network import load_builtin
from backend.segmenters.loader import SegmenterLoader
from backend.settings import Settings
from backend.status.audits import Audits
from backend.status.gone_projects import GoneProjects
from backend.status.project_status import ProjectStatus
from backend.status.survey import Surveys
from backend.telemetry.metrics import Metrics

logger = logging.getLogger(__name__)

# After these, the project's labels are counted again.
COUNTED_ACTIONS = frozenset(
    {
        "ANNOTATION_CREATED",
        "ANNOTATIONS_CREATED",
        "ANNOTATION_UPDATED",
        "ANNOTATIONS_DELETED",
        "TASKS_DELETED",
        "PROJECT_UPDATED",
    }
)
ACTIONS = COUNTED_ACTIONS | {"TASKS_CREATED", "START_TRAINING", "PROJECT_DELETED"}
# Shorter than the time that a stopped process is given to end.
CLOSE_TIMEOUT_S = 2.0


@dataclass(frozen=True)
class Service:
    """The parts that answer requests, built once."""

    connections: Connections
    interactive: Interactive
    batch: Batch
    prewarmer: Prewarmer
    marks: TaskMarks
    project_status: ProjectStatus
    inbox: Inbox
    segmenter: SegmenterLoader
    metrics: Metrics
    started_at: float

    @classmethod
    def build(cls, settings: Settings) -> Service:
        """Builds all parts from the settings; the segmenter loads in the background, all else on first use."""
        # Ultralytics sets this too when the first detector imports it. If OpenCV were then working on a click in its
        # own threads, it would divide by their new number, which is 0, and crash the whole process.
        cv2.setNumThreads(0)
        # With a timeout: a Redis that hangs must not block the threads that answer requests.
        connections = Connections.of(settings, answer_within_s=REDIS_TIMEOUT_S)
        label_studio, redis = connections.label_studio, connections.queues.redis
        images = ImageStore(settings, bearer=label_studio.bearer)
        metrics = Metrics()
        metrics.registry.register(QueueMetrics(settings))
        segmenter = SegmenterLoader(settings, metrics, report=connections.problems.report)
        return cls(
            connections=connections,
            interactive=Interactive(settings, images=images, segmenter=segmenter, sticky_words=StickyWords(redis)),
            batch=Batch(
                settings,
                images=images,
                detectors=DetectorPool(connections.registry, settings),
                segmenter=lambda: segmenter.get(timeout_s=LOADING_TIMEOUT_S),
                builtin=functools.cache(load_builtin),
            ),
            prewarmer=Prewarmer(settings, images=images, segmenter=segmenter, label_studio=label_studio),
            marks=TaskMarks(redis),
            project_status=ProjectStatus(
                connections,
                segmenter=segmenter,
                surveys=Surveys(redis),
                audits=Audits(redis),
                gone_projects=GoneProjects(redis),
                pace=Pace(redis),
            ),
            inbox=Inbox(connections.queues, connections.problems, leftovers=settings.data_dir / "events.json"),
            segmenter=segmenter,
            metrics=metrics,
            started_at=time.time(),
        )

    def close(self) -> None:
        """Ends loading and encoding ahead; queues the work of waiting events, for at most `CLOSE_TIMEOUT_S` seconds."""
        self.segmenter.close()
        self.prewarmer.close()
        self.inbox.close(timeout_s=CLOSE_TIMEOUT_S)

    def health(self) -> dict[str, Any]:
        """The answer to `GET /health`."""
        return {
            "status": "UP",
            "model_class": "GarmentModel",
            "segmenter": self.segmenter.name,
            "download": self._download(),
        }

    def setup(self, *, project_id: int | None, label_config: str) -> dict[str, Any]:
        """Checks that the label config can be served; returns the model version for Label Studio to show.

        `warnings`, which Label Studio ignores, says what annotators will miss.

        Raises:
            LabelConfigError: the label config cannot be served.
        """
        config = parse_label_config(label_config)
        warnings = [] if config.has_message_tag else [f"{NO_MESSAGE_TAG} `drape connect` adds it."]
        return {"model_version": self.project_status.model_version(project_id), "warnings": warnings}

    def predict(self, request: PredictRequest, *, deadline_s: float | None = None) -> list[dict[str, Any] | list[Any]]:
        """Returns one entry per task, in order: a prediction, or `[]` if there is none (yet).

        Args:
            deadline_s: seconds after which whole images are answered with what is ready; None for the setting's value.

        Raises:
            LabelConfigError: the label config cannot be served.
            LabelStudioError: Label Studio, which serves the images, is unreachable (batch only).
        """
        try:
            config = parse_label_config(request.label_config)
        except LabelConfigError as e:
            # Label Studio's page shows nothing for an error status.
            self.connections.problems.report(str(e), project_id=request.project_id)
            raise
        if request.context and request.tasks:
            return [_as_result(self._answer_prompt(request, config))]
        left_s = self.connections.settings.predict_deadline_s if deadline_s is None else deadline_s
        return self._predict_batch(request, config, deadline_s=left_s)

    def explain_refusal(self, request: PredictRequest, reason: str) -> dict[str, Any]:
        """The entry that shows an annotator why a prompt was not answered.

        Raises:
            LabelConfigError: the label config cannot be served.
        """
        return _as_result(self.interactive.explain_refusal(reason, parse_label_config(request.label_config)))

    def _answer_prompt(self, request: PredictRequest, config: LabelConfig) -> Prediction:
        task, project_id = request.tasks[0], request.project_id
        try:
            return self.interactive.answer(request, config)
        except DrapeError as e:
            # Label Studio's page shows nothing for an error status: the reason must travel in a result.
            self.connections.problems.report(str(e), project_id=project_id, task_id=task.id)
            return self.interactive.explain_refusal(str(e), config)
        finally:
            if project_id is not None:
                self.prewarmer.task_opened(project_id, task, config)

    def _predict_batch(
        self, request: PredictRequest, config: LabelConfig, *, deadline_s: float
    ) -> list[dict[str, Any] | list[Any]]:
        project_id = request.project_id
        if project_id is None:
            return [[] for _ in request.tasks]
        if len(request.tasks) == 1:
            # Label Studio asks for a single task when somebody opens it.
            self.prewarmer.task_opened(project_id, request.tasks[0], config)
        model = self.batch.active_model(project_id) if self.connections.registry.champion(project_id) else None
        if model is None:
            return self._predict_without_model(project_id, request.tasks, config)
        answers: dict[int, dict[str, Any] | list[Any]] = {}
        for outcome in self.batch.predict(request.tasks, config, model, deadline_s=deadline_s):
            answers[outcome.task_id] = _as_result(outcome.prediction) if outcome.prediction else []
            if outcome.problem:
                self.connections.problems.report(outcome.problem, project_id=project_id, task_id=outcome.task_id)
        self.marks.answered(project_id, model.version, [task_id for task_id, answer in answers.items() if answer])
        late = [task.id for task in request.tasks if task.id not in answers]
        if late:
            self._queue_late(project_id, late)
        return [answers.get(task.id, []) for task in request.tasks]

    def _predict_without_model(
        self, project_id: int, tasks: list[Task], config: LabelConfig
    ) -> list[dict[str, Any] | list[Any]]:
        """Answers an opened task with the remembered phrase; otherwise a job looks for words, which takes long."""
        if len(tasks) == 1 and self.connections.settings.for_project(project_id).sticky_words:
            phrase = self.interactive.sticky_words.recall(project_id)
            try:
                prediction = (
                    self.interactive.answer_with_phrase(project_id, tasks[0], config, phrase) if phrase else None
                )
            except DrapeError as e:
                self.connections.problems.report(str(e), project_id=project_id, task_id=tasks[0].id)
                prediction = None
            if prediction:
                return [_as_result(prediction)]
        if self.connections.settings.may_read_words:
            self._queue_late(project_id, [task.id for task in tasks])
        return [[] for _ in tasks]

    def _queue_late(self, project_id: int, task_ids: list[int]) -> None:
        try:
            champion = self.connections.registry.champion(project_id)
            self.connections.queues.prelabelling(project_id, version=champion.name if champion else "").add(task_ids)
        except QueueError as e:
            self.connections.problems.report(
                f"{len(task_ids)} tasks did not fit into the time limit and could not be queued: {e}",
                project_id=project_id,
            )

    def webhook(self, event: WebhookEvent) -> str:
        """Puts the event's work into the inbox, without waiting; returns the kind of work, or `ignored`.

        Raises:
            OverloadedError: Redis does not answer, and too many events wait for it.
        """
        project_id = event.project_id
        # Each counted name takes memory, so all unknown actions share one.
        self.metrics.webhooks.labels(action=event.action if event.action in ACTIONS else "other").inc()
        if event.action not in ACTIONS:
            logger.info("Nothing to do for webhook action %s", event.action)
            return "ignored"
        if project_id is None or event.action == "PROJECT_DELETED":
            # Deleting all tasks of a project does not name it, nor does a webhook that sends no payload.
            work = EventWork("look", None)
        elif event.action == "TASKS_CREATED":
            work = EventWork("prelabel", project_id, tuple(event.task_ids))
        elif event.action == "START_TRAINING":
            work = EventWork("train", project_id)
        elif self._is_auto_accepted(event):
            return "ignored"
        else:
            work = EventWork("check", project_id)
        self.inbox.put(work)
        return work.kind

    def is_slow(self, event: WebhookEvent) -> bool:
        """Whether `webhook` hashes the event's regions and reads the project's settings, which blocks an event loop."""
        return event.action == "ANNOTATION_CREATED" and event.annotation is not None and is_marked(event.annotation)

    def _is_auto_accepted(self, event: WebhookEvent) -> bool:
        """Whether Drape stored it and does not train on it: each of thousands would start a new count of all labels."""
        if not self.is_slow(event) or accepted_by(event.annotation or {}) is None:
            return False
        return not self.connections.settings.for_project(event.project_id).train_on_auto_accepted

    def status(self) -> dict[str, Any]:
        """The answer to `GET /status`: models, queues, jobs with their progress, the latest problems."""
        return {
            "status": "UP",
            "uptime_s": round(time.time() - self.started_at, 1),
            "segmenter": self.segmenter.name,
            "download": self._download(),
            "projects": self.project_status.projects(),
            "queues": self.project_status.queues(),
            "problems": [asdict(problem) for problem in self.connections.problems.recent(20)],
        }

    def _download(self) -> str:
        """A sentence about the download of weights; '' without one."""
        return str(self.segmenter.download or "")


def _as_result(prediction: Prediction) -> dict[str, Any]:
    return {
        "result": prediction.regions,
        "score": prediction.score,
        "model_version": prediction.model_version,
    }
