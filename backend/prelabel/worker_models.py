"""What the jobs of one worker process share."""

from __future__ import annotations

import functools
from dataclasses import dataclass

from backend.detector.detector_pool import Detectors
from backend.images.fetch import ImageStore
from backend.label_studio.client import LabelStudio
from backend.predict.batch import Batch
from backend.prelabel.pace import Pace
from backend.prelabel.task_claims import TaskClaims
from backend.prelabel.task_marks import TaskMarks
from backend.queues.queues import Queues
from backend.registry.registry import Registry
from backend.segmenters.loader import choose
from backend.settings import Settings
from backend.telemetry.metrics import Metrics
from backend.telemetry.problems import Problems


@dataclass(frozen=True)
class Workplace:
    """Connections, and above all the loaded models."""

    settings: Settings
    label_studio: LabelStudio
    registry: Registry
    queues: Queues
    problems: Problems
    marks: TaskMarks
    claims: TaskClaims
    pace: Pace
    batch: Batch

    def version(self, project_id: int) -> str:
        """The name of the project's current model; '' where it has none, and words answer, if anything does."""
        champion = self.registry.champion(project_id)
        return champion.name if champion else ""

    def answers(self, project_id: int) -> bool:
        """Whether anything pre-annotates the project."""
        return self.registry.champion(project_id) is not None or self.settings.may_read_words


@functools.lru_cache(maxsize=1)
def workplace(settings: Settings) -> Workplace:
    """The process's workplace: a worker that stays keeps its models from job to job."""
    settings = settings.placed("batch")
    label_studio, queues = LabelStudio(settings), Queues(settings)
    problems = Problems(queues.redis)
    registry = Registry.of(settings, report=problems.report)
    return Workplace(
        settings,
        label_studio,
        registry,
        queues,
        problems,
        TaskMarks(queues.redis),
        TaskClaims(queues.redis),
        Pace(queues.redis),
        Batch(
            settings,
            images=ImageStore(settings, bearer=label_studio.bearer),
            detectors=Detectors(registry, settings),
            segmenter=functools.cache(lambda: choose(settings, Metrics())),
        ),
    )
