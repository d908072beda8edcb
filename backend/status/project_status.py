"""Gathers the state of projects and queues for `GET /status` and for the status page, so that both agree."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from redis.exceptions import RedisError

from backend.auto_accept.calibration import read_calibration
from backend.auto_accept.gate import closed_reason, gate_of
from backend.connections import Connections
from backend.errors import QueueError, SettingsError
from backend.prelabel.pace import Pace
from backend.queues.job_progress import snapshot
from backend.registry.verdict import read_verdict
from backend.segmenters.loader import SegmenterLoader
from backend.settings import Settings
from backend.status.audits import Audits
from backend.status.gone_projects import GoneProjects
from backend.status.survey import Survey, Surveys


@dataclass(frozen=True)
class ProjectStatus:
    """Reads the state that workers stored in Redis and beside the models' weights."""

    connections: Connections
    segmenter: SegmenterLoader
    surveys: Surveys
    audits: Audits
    gone_projects: GoneProjects
    pace: Pace

    def model_version(self, project_id: int | None) -> str:
        """Name of the project's champion, or of the segmenter while the project has no champion."""
        champion = None if project_id is None else self.connections.registry.champion(project_id)
        return champion.name if champion else self.segmenter.name

    def versions(self, project_id: int | None) -> list[str]:
        """Names of the project's model versions, oldest first; None stands for all projects that Label Studio has.

        Label Studio's page asks for the versions of a backend without saying for which project.
        """
        registry = self.connections.registry
        asked = sorted(set(registry.project_ids()) - self.gone()) if project_id is None else [project_id]
        return list(dict.fromkeys(version.name for each in asked for version in registry.versions(each)))

    def own_settings(self, project_id: int | None) -> tuple[Settings, dict[str, Any]]:
        """The settings that apply to the project, and those among them that are set for this project alone.

        Raises:
            SettingsError: the project's own settings cannot be read.
        """
        settings = self.connections.settings
        effective = settings.for_project(project_id)
        own = settings.projects().get(project_id, {}) if project_id is not None else {}
        return effective, {name: getattr(effective, name) for name in own}

    def projects(self) -> dict[str, dict[str, Any]]:
        """Project id → its models, its own settings and the state of its auto-accept gate."""
        gone = self.gone()
        return {
            str(project_id): {
                "model_version": self.model_version(project_id),
                "versions": self.versions(project_id),
                "last_verdict": self._last_verdict(project_id),
                **self._settings(project_id),
            }
            for project_id in self.connections.registry.project_ids()
            if project_id not in gone
        }

    def gone(self) -> set[int]:
        """Ids of projects whose models are stored, but that Label Studio no longer has; none while Redis is away."""
        try:
            return self.gone_projects.all()
        except QueueError:
            return set()

    def latest_surveys(self) -> dict[int, Survey]:
        """Project id → its last survey; empty while Redis does not answer."""
        try:
            return self.surveys.all()
        except QueueError:
            return {}

    def jobs(self) -> tuple[dict[str, Any], float]:
        """The jobs that wait, run and failed, see `snapshot`; and the images predicted per minute.

        Raises:
            QueueError, RedisError: Redis does not answer.
        """
        return snapshot(self.connections.queues.redis), self.pace.images_a_minute()

    def queues(self) -> dict[str, Any]:
        """Everything that Redis stores; only the error while Redis does not answer."""
        try:
            surveys, audits = self.surveys.all(), self.audits.all()
            jobs, images_a_minute = self.jobs()
        except (QueueError, RedisError) as e:
            return {"error": str(e)}
        return {
            "surveys": {str(project_id): asdict(survey) for project_id, survey in surveys.items()},
            "audits": audits,
            **jobs,
            "images_a_minute": images_a_minute,
        }

    def _last_verdict(self, project_id: int) -> dict[str, Any] | None:
        """The verdict on the last trained model; None before the first training."""
        for version in reversed(self.connections.registry.versions(project_id)):
            verdict = read_verdict(version)
            if verdict is not None:
                return {"version": version.name, **asdict(verdict)}
        return None

    def _settings(self, project_id: int) -> dict[str, Any]:
        """The project's own settings and the state of its gate, or the error in its settings."""
        try:
            settings, own = self.own_settings(project_id)
        except SettingsError as e:
            return {"settings": {"error": str(e)}}
        return {"settings": own, "auto_accept": self._auto_accept(project_id, settings)}

    def _auto_accept(self, project_id: int, settings: Settings) -> dict[str, Any]:
        """The state of the project's gate, and the evidence for it."""
        champion = self.connections.registry.champion(project_id)
        mode = settings.auto_accept
        if champion is None or mode == "off":
            return {"mode": mode}
        calibration = read_calibration(champion)
        return {
            "mode": mode,
            "open": gate_of(champion, settings).is_open,
            "shut_because": closed_reason(champion, settings),
            "promised_precision": settings.auto_accept_precision,
            "calibration": asdict(calibration) if calibration else None,
        }
