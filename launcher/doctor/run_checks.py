"""`drape doctor`: checks everything that Drape depends on, and says what to do. It leaves everything unchanged."""

from __future__ import annotations

from itertools import chain

from backend.settings import Settings
from launcher.doctor.findings import Finding
from launcher.doctor.label_studio import check_label_studio
from launcher.doctor.machine import check_machine
from launcher.doctor.projects import check_backend, check_project, check_project_settings, connected_projects
from launcher.doctor.redis import check_redis
from launcher.doctor.storage import check_storage
from launcher.doctor.weights import check_weight_files

# Nobody would run the command again if it waited half a minute for each service that is unreachable.
TIMEOUT_S = 10.0


def run_checks(settings: Settings, *, project_id: int | None) -> list[Finding]:
    """Runs all checks, each after those that it depends on.

    Args:
        project_id: the only project to check; None for every project that the backend was connected to.
    """
    settings = settings.model_copy(update={"label_studio_timeout_s": min(settings.label_studio_timeout_s, TIMEOUT_S)})
    label_studio = check_label_studio(settings)
    findings = [
        *check_machine(settings),
        *check_project_settings(settings),
        *check_storage(settings),
        *check_weight_files(settings),
        *check_redis(settings),
        *label_studio,
    ]
    if any(finding.state == "failed" for finding in label_studio):
        # All other requests to Label Studio would fail for the same reason.
        return [*findings, *check_backend(settings, {})]
    project_ids, listing = connected_projects(settings) if project_id is None else ((project_id,), [])
    backends: dict[str, bool] = {}
    projects = [check_project(settings, number, backends) for number in project_ids]
    return [*findings, *listing, *check_backend(settings, backends), *chain(*projects)]
