"""The loaded models that the jobs of one worker process share, and the records that the jobs write to Redis."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass

from backend.connections import Connections
from backend.detector.detector_pool import DetectorPool
from backend.images.fetch import ImageStore
from backend.predict.batch import Batch
from backend.prelabel.pace import Pace
from backend.prelabel.task_claims import TaskClaims
from backend.prelabel.task_marks import TaskMarks
from backend.segmenters.base import Segmenter, segmenter_kind
from backend.segmenters.builtin.network import load_builtin
from backend.segmenters.loader import choose
from backend.segmenters.sam_weights import stored_weights
from backend.settings import Settings
from backend.telemetry.metrics import Metrics


@dataclass(frozen=True)
class WorkerModels:
    """The models, in `batch`, and the records in Redis."""

    connections: Connections
    batch: Batch
    marks: TaskMarks
    claims: TaskClaims
    pace: Pace

    def version(self, project_id: int) -> str:
        """The name of the project's current model; '' where it has none, and at most SAM 3's words answer."""
        champion = self.connections.registry.champion(project_id)
        return champion.name if champion else ""

    def answers(self, project_id: int) -> bool:
        """Whether a model, or SAM 3's words, can pre-annotate the project."""
        registry, settings = self.connections.registry, self.connections.settings
        return registry.champion(project_id) is not None or settings.may_read_words


@functools.lru_cache(maxsize=1)
def worker_models(settings: Settings) -> WorkerModels:
    """The process's models, cached: a worker that runs all jobs in one process loads them once."""
    settings = settings.for_work("batch")
    connections = Connections.of(settings)
    chosen = functools.cache(lambda again: choose(settings, Metrics()))
    redis = connections.queues.redis
    return WorkerModels(
        connections,
        Batch(
            settings,
            images=ImageStore(settings, bearer=connections.label_studio.bearer),
            detectors=DetectorPool(connections.registry, settings),
            segmenter=lambda: _segmenter(chosen, settings),
            builtin=functools.cache(load_builtin),
        ),
        TaskMarks(redis),
        TaskClaims(redis),
        Pace(redis),
    )


def _segmenter(chosen: Callable[[bool], Segmenter], settings: Settings) -> Segmenter:
    """The worker's segmenter; Drape's own is chosen again once the backend has downloaded SAM's weights.

    A SAM stays: beside it, there may be no memory to load it once more.

    Args:
        chosen: returns the segmenter that is chosen at the start, or again; it loads each of the two once.
    """
    first = chosen(False)
    return chosen(True) if segmenter_kind(first) == "builtin" and stored_weights(settings) else first
