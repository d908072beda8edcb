"""A flywheel that the doctor looks at, and how one thing after the other is broken in it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from backend.label_studio.client import LabelStudio
from backend.queues.queues import QUEUES, Queues
from backend.queues.worker import ResidentWorker
from backend.settings import Settings
from backend.timer import timer
from label_studio_config.provision import Backend, connect_backend, give_starter_model
from launcher.doctor.findings import Finding, State
from launcher.doctor.run_checks import run_checks
from tests.backend.conftest import USER, served
from tests.conftest import Studio
from tests.projects import project_of_figures

PASSWORD, SECRET = "q7-backend-q7", "q7-hook-q7"


@dataclass(frozen=True)
class Flywheel:
    """A project that is connected to a backend which runs; workers and a timer that Redis knows of."""

    settings: Settings
    label_studio: LabelStudio
    project_id: int
    photographs: Path
    redis: Redis

    def found(self, **other: Any) -> dict[str, Finding]:
        """What the doctor finds under these settings, or others."""
        findings = run_checks(self.settings.model_copy(update=other), project_id=self.project_id)
        assert len({one.name for one in findings}) == len(findings)
        return {one.name: one for one in findings}

    @property
    def webhook_id(self) -> int:
        return int(self.label_studio.sdk.webhooks.list(project=self.project_id)[0].id or 0)


@pytest.fixture
def flywheel(label_studio: Studio, redis_address: str, tmp_path: Path, starter: Path) -> Iterator[Flywheel]:
    settings = Settings(
        data_dir=tmp_path / "data",
        label_studio_url=label_studio.url,
        label_studio_api_key=label_studio.api_key,
        redis_url=redis_address,
        basic_auth_user=USER,
        basic_auth_pass=PASSWORD,
        webhook_secret=SECRET,
        device="cpu",
        yolo11_base=str(starter),
    )
    settings.data_dir.mkdir()
    with ExitStack() as stack:
        url = str(stack.enter_context(served(settings)).client.base_url).rstrip("/")
        settings = settings.model_copy(update={"port": int(url.rsplit(":", 1)[1])})
        studio = LabelStudio(settings)
        photographs = label_studio.files / tmp_path.name
        project_id = project_of_figures(studio, photographs, [1], title=tmp_path.name)
        connect_backend(studio, project_id=project_id, backend=Backend(url, USER, PASSWORD, SECRET))
        give_starter_model(project_id, settings)
        redis = Queues(settings).redis
        for queue in QUEUES:
            ResidentWorker(queue, connection=redis, lost_after_s=30).register_birth()
        timer(redis, every_s=600).register_birth()
        yield Flywheel(settings, studio, project_id, photographs, redis)
        studio.sdk.projects.delete(project_id)


Case = tuple[Callable[[Flywheel], None], str, State, str, str]


def assert_each_fault_is_found(cases: Sequence[Case], flywheel: Flywheel, look: Callable[[], list[Finding]]) -> None:
    """Breaks one thing after the other; each is named, with its remedy."""
    number = str(flywheel.project_id)
    for break_it, what, state, said, remedy in cases:
        break_it(flywheel)
        one = {finding.name: finding for finding in look()}[what.replace("N", number)]
        assert one.state == state, one
        assert said in one.message and remedy.replace("N", number) in one.remedy, one
