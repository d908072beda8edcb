"""What the service does for each of Label Studio's requests; knows no HTTP. `app.py` and `model.py` are its faces."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from redis.exceptions import RedisError

from backend.auto_accepted import accepted_by
from backend.batch import Batch
from backend.calibration import read_calibration
from backend.detectors import Detectors
from backend.domain import Prediction
from backend.errors import DrapeError, QueueError
from backend.gate import gate_of, why_shut
from backend.images import ImageStore
from backend.job_state import snapshot
from backend.label_config import LabelConfig, config_of, parse_label_config, parse_label_configs
from backend.labelstudio import LabelStudio
from backend.metrics import Metrics
from backend.pipeline import LOADING_PATIENCE_S, Interactive
from backend.prelabel_marks import PrelabelMarks
from backend.prewarm import Prewarmer
from backend.problems import Problems
from backend.queues import Queues
from backend.registry import Registry
from backend.segmenters.loader import SegmenterLoader
from backend.settings import Settings
from backend.sticky_words import StickyWords
from backend.verdict import read_verdict
from backend.wire import PredictRequest, Task, WebhookEvent

logger = logging.getLogger(__name__)

ANNOTATION_ACTIONS = frozenset(
    {"ANNOTATION_CREATED", "ANNOTATIONS_CREATED", "ANNOTATION_UPDATED", "ANNOTATIONS_DELETED", "PROJECT_UPDATED"}
)


@dataclass(frozen=True)
class Service:
    """The parts that answer, put together once."""

    settings: Settings
    interactive: Interactive
    batch: Batch
    prewarmer: Prewarmer
    registry: Registry
    queues: Queues
    problems: Problems
    marks: PrelabelMarks
    metrics: Metrics
    started_at: float

    @classmethod
    def build(cls, settings: Settings) -> Service:
        """All parts from the settings. Loads no model and touches no network: both happen on first use."""
        label_studio = LabelStudio(settings)
        images = ImageStore(settings, bearer=label_studio.bearer)
        registry = Registry(settings.models_path)
        queues = Queues(settings)
        metrics = Metrics()
        segmenter = SegmenterLoader(settings, metrics)
        return cls(
            settings=settings,
            interactive=Interactive(settings, images=images, segmenter=segmenter, sticky=StickyWords(queues.redis)),
            batch=Batch(
                settings,
                images=images,
                detectors=Detectors(registry, settings),
                segmenter=lambda: segmenter.get(timeout_s=LOADING_PATIENCE_S),
            ),
            prewarmer=Prewarmer(settings, images=images, segmenter=segmenter, label_studio=label_studio),
            registry=registry,
            queues=queues,
            problems=Problems(queues.redis),
            marks=PrelabelMarks(queues.redis),
            metrics=metrics,
            started_at=time.time(),
        )

    def model_version(self, project_id: int | None) -> str:
        """What pre-annotates the project: its champion's name, or the segmenter's where it has none yet."""
        champion = None if project_id is None else self.registry.champion(project_id)
        return champion.name if champion else self.interactive.segmenter.name

    def setup(self, *, project_id: int | None, label_config: str) -> str:
        """Checks that the label config can be served; returns the model version that Label Studio shall show.

        Raises:
            LabelConfigError: a tag is missing.
        """
        parse_label_config(label_config)
        return self.model_version(project_id)

    def predict(self, request: PredictRequest) -> list[dict[str, Any] | list[Any]]:
        """One entry a task, in order: a prediction, or `[]` for 'none (yet)'.

        Raises:
            LabelConfigError: a tag is missing.
            LabelStudioError: Label Studio, which keeps the images, is away (batch only).
        """
        configs = parse_label_configs(request.label_config)
        if request.context and request.tasks:
            # Its list was looked at when the context was recognised as one.
            config = config_of(configs, [one for one in request.context["result"] if isinstance(one, dict)])
            return [_as_result(self._interact(request, config))]
        return self._predict_batch(request, configs)

    def _interact(self, request: PredictRequest, config: LabelConfig) -> Prediction:
        task, project_id = request.tasks[0], request.project_id
        try:
            return self.interactive.answer(request, config)
        except DrapeError as e:
            # Label Studio's page shows nothing for an error status: the reason must travel in a result.
            self.problems.report(str(e), project_id=project_id, task_id=task.id)
            return self.interactive.excuse(str(e), config)
        finally:
            if project_id is not None:
                self.prewarmer.opened(project_id, task, config)

    def _predict_batch(
        self, request: PredictRequest, configs: Sequence[LabelConfig]
    ) -> list[dict[str, Any] | list[Any]]:
        project_id = request.project_id
        if project_id is None:
            return [[] for _ in request.tasks]
        if len(request.tasks) == 1:
            # One task alone: somebody has opened it.
            self.prewarmer.opened(project_id, request.tasks[0], configs[0])
        current = self.batch.current(project_id) if self.registry.champion(project_id) else None
        if current is None:
            return self._predict_without_model(project_id, request.tasks, configs[0])
        deadline_s = self.settings.predict_deadline_s
        answers: dict[int, dict[str, Any] | list[Any]] = {}
        for outcome in self.batch.predict(request.tasks, configs, current, deadline_s=deadline_s):
            answers[outcome.task_id] = _as_result(outcome.prediction) if outcome.prediction else []
            if outcome.problem:
                self.problems.report(outcome.problem, project_id=project_id, task_id=outcome.task_id)
        self.marks.answered(project_id, current.version, [task_id for task_id, answer in answers.items() if answer])
        late = [task.id for task in request.tasks if task.id not in answers]
        if late:
            self._queue_late(project_id, late)
        return [answers.get(task.id, []) for task in request.tasks]

    def _predict_without_model(
        self, project_id: int, tasks: list[Task], config: LabelConfig
    ) -> list[dict[str, Any] | list[Any]]:
        """The remembered words in a task that is opened; what words find otherwise takes a job's time."""
        if len(tasks) == 1 and self.settings.sticky_words:
            phrase = self.interactive.sticky.recall(project_id)
            try:
                prediction = self.interactive.answer_again(tasks[0], config, phrase) if phrase else None
            except DrapeError as e:
                self.problems.report(str(e), project_id=project_id, task_id=tasks[0].id)
                prediction = None
            if prediction:
                return [_as_result(prediction)]
        if self.settings.may_read_words:
            self._queue_late(project_id, [task.id for task in tasks])
        return [[] for _ in tasks]

    def _queue_late(self, project_id: int, task_ids: list[int]) -> None:
        try:
            champion = self.registry.champion(project_id)
            self.queues.enqueue_prelabel(project_id, task_ids, version=champion.name if champion else "")
        except QueueError as e:
            self.problems.report(
                f"{len(task_ids)} tasks did not fit the time limit and were not queued: {e}", project_id=project_id
            )

    def webhook(self, event: WebhookEvent) -> str:
        """Queues what the event calls for; the work is done elsewhere. Returns what was queued, in a word.

        Raises:
            QueueError: Redis is away: the event is only a hint, and the next one brings the same work.
        """
        project_id = event.project_id
        if event.action == "TASKS_CREATED":
            self.queues.enqueue_imported(project_id, [task.id for task in event.tasks])
            return "prelabel"
        if event.action == "START_TRAINING":
            self.queues.enqueue_training(project_id, reason="Start training")
            return "train"
        own = event.annotation is not None and accepted_by(event.annotation) is not None
        if event.action == "ANNOTATION_CREATED" and own and not self.settings.train_on_auto_accepted:
            # Of thousands that the gate accepts each would have all approved labels counted again.
            return "ignored"
        if event.action in ANNOTATION_ACTIONS:
            self.queues.enqueue_check(project_id)
            return "check"
        logger.info("Nothing to do for webhook action %s", event.action)
        return "ignored"

    def versions(self, project_id: int | None) -> list[str]:
        """Names of the project's model versions, oldest first."""
        return [] if project_id is None else [version.name for version in self.registry.versions(project_id)]

    def status(self) -> dict[str, Any]:
        """What `GET /status` shows: models, queues, jobs with their progress, the last problems."""
        try:
            queues: dict[str, Any] = {
                "approved": self.queues.counts(),
                "audits": self.queues.audits(),
                **snapshot(self.queues.redis),
                "images_a_minute": self.marks.images_a_minute(),
            }
        except (QueueError, RedisError) as e:
            queues = {"error": str(e)}
        return {
            "status": "UP",
            "uptime_s": round(time.time() - self.started_at, 1),
            "segmenter": self.interactive.segmenter.name,
            "projects": {
                str(project_id): {
                    "model_version": self.model_version(project_id),
                    "versions": self.versions(project_id),
                    "last_verdict": self._last_verdict(project_id),
                    "auto_accept": self._auto_accept(project_id),
                }
                for project_id in self.registry.project_ids()
            },
            "queues": queues,
            "problems": [asdict(problem) for problem in self.problems.recent(20)],
        }

    def _last_verdict(self, project_id: int) -> dict[str, Any] | None:
        """What came of the last model that was trained; None before the first."""
        for version in reversed(self.registry.versions(project_id)):
            verdict = read_verdict(version)
            if verdict is not None:
                return {"version": version.name, **asdict(verdict)}
        return None

    def _auto_accept(self, project_id: int) -> dict[str, Any]:
        """What the gate does for the project, and on what evidence."""
        champion = self.registry.champion(project_id)
        mode = self.settings.auto_accept
        if champion is None or mode == "off":
            return {"mode": mode}
        calibration = read_calibration(champion)
        return {
            "mode": mode,
            "open": gate_of(champion, self.settings).is_open,
            "shut_because": why_shut(champion, self.settings),
            "promised_precision": self.settings.auto_accept_precision,
            "calibration": asdict(calibration) if calibration else None,
        }


def _as_result(prediction: Prediction) -> dict[str, Any]:
    return {
        "result": prediction.regions,
        "score": prediction.score,
        "model_version": prediction.model_version,
    }
