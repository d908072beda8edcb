"""What jobs, commands and the service work with besides models: made in one place, from settings."""

from __future__ import annotations

from dataclasses import dataclass

from backend.label_studio.client import LabelStudio
from backend.queues.queues import Queues
from backend.registry.registry import Registry
from backend.settings import Settings
from backend.telemetry.problems import Problems


@dataclass(frozen=True)
class Connections:
    """Label Studio, Redis and the registry of models, as the settings name them; each connects on first use."""

    settings: Settings
    label_studio: LabelStudio
    registry: Registry
    queues: Queues
    problems: Problems

    @classmethod
    def of(cls, settings: Settings, *, answer_within_s: float | None = None) -> Connections:
        """Touches no network yet.

        Args:
            answer_within_s: how long Redis may take; None for those that wait for it, such as workers.
        """
        queues = Queues(settings, answer_within_s=answer_within_s)
        problems = Problems(queues.redis)
        registry = Registry.of(settings, report=problems.report)
        return cls(settings, LabelStudio(settings), registry, queues, problems)


def promote_and_prelabel(registry: Registry, queues: Queues, project_id: int, version: str) -> None:
    """Makes a version the one that the project works with, and has it pre-annotate what nobody has annotated.

    Raises:
        NotFoundError: there is no such version.
        QueueError: Redis is away; the version is the current one all the same.
    """
    registry.promote(project_id, version)
    queues.enqueue_plan(project_id)
