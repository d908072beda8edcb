"""The connections that jobs, commands and the service share, built from the settings."""

from __future__ import annotations

from dataclasses import dataclass

from backend.label_studio.client import LabelStudio
from backend.queues.queues import Queues
from backend.queues.redis_connection import retry_for_a_while
from backend.registry.registry import Registry
from backend.settings import Settings
from backend.telemetry.problems import Problems


@dataclass(frozen=True)
class Connections:
    """Label Studio, Redis, the model registry and the list of problems; each connects on first use."""

    settings: Settings
    label_studio: LabelStudio
    registry: Registry
    queues: Queues
    problems: Problems

    @classmethod
    def of(cls, settings: Settings, *, answer_within_s: float | None = None) -> Connections:
        """Builds the connections that the settings name, without touching the network.

        Args:
            answer_within_s: seconds that Redis may take to answer; None for processes that wait for it, as workers do.
        """
        queues = Queues(settings, answer_within_s=answer_within_s)
        if answer_within_s is None:
            retry_for_a_while(queues.redis)
        problems = Problems(queues.redis)
        registry = Registry.of(settings, report=problems.report)
        return cls(settings, LabelStudio(settings), registry, queues, problems)


def promote_and_prelabel(
    registry: Registry, queues: Queues, project_id: int, version: str, *, instead_of: str | None = None
) -> bool:
    """Promotes a version, and queues the pre-annotation of every task that nobody has annotated.

    Args, returns: as `Registry.promote`; where the version is not promoted, nothing is queued.

    Raises:
        NotFoundError: the version does not exist.
        QueueError: Redis does not answer; the version is promoted all the same.
    """
    if not registry.promote(project_id, version, instead_of=instead_of):
        return False
    queues.enqueue_plan(project_id)
    return True
