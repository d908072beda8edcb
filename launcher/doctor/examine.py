"""`drape doctor`: checks everything that Drape depends on, and says what to do. It leaves everything unchanged."""

from __future__ import annotations

from itertools import chain

from backend.settings import Settings
from launcher.doctor.findings import Finding
from launcher.doctor.label_studio import look_at_studio
from launcher.doctor.machine import look_at_machine
from launcher.doctor.projects import (
    connected_projects,
    look_at_backend,
    look_at_project,
    look_at_project_settings,
)
from launcher.doctor.redis import look_at_redis
from launcher.doctor.storage import look_at_storage
from launcher.doctor.weights import look_at_weights

# Nobody would run the command again if it waited half a minute for each service that is unreachable.
PATIENCE_S = 10.0


def examine(settings: Settings, *, project_id: int | None) -> list[Finding]:
    """Runs all checks, each after those that it depends on.

    Args:
        project_id: the only project to check; None for every project that the backend was connected to.
    """
    settings = settings.model_copy(update={"label_studio_timeout_s": min(settings.label_studio_timeout_s, PATIENCE_S)})
    studio = look_at_studio(settings)
    here = [*look_at_machine(settings), *look_at_project_settings(settings), *look_at_storage(settings)]
    found = [*here, *look_at_weights(settings), *look_at_redis(settings), *studio]
    if any(one.state == "failed" for one in studio):
        # All other requests to Label Studio would fail for the same reason.
        return [*found, *look_at_backend(settings, {})]
    chosen, said = connected_projects(settings) if project_id is None else ((project_id,), [])
    backends: dict[str, bool] = {}
    projects = [look_at_project(settings, one, backends) for one in chosen]
    return [*found, *said, *look_at_backend(settings, backends), *chain(*projects)]
