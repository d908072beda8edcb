"""A stock Label Studio on PostgreSQL, as in docker-compose.yml, is backed up, loses things, and is restored."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from redis import Redis
from rq import Queue

from backend.label_studio.client import LabelStudio
from backend.queues.queues import PRELABEL, Queues
from backend.registry.registry import Registry, check_weights
from backend.settings import Settings
from label_studio_config.demo.write import write_images
from launcher.stack.label_studio_server import personal_access_token, studio_answers, studio_program
from launcher.stack.secret_files import Secrets
from launcher.stack.supervisor import Supervisor, free_port
from tests.conftest import STUDIO_VENV
from tests.e2e.conftest import environment_of, run_drape, upload
from tests.postgres import PASSWORD, query
from tests.support import add_starter, config_xml

Drape = Callable[..., str]


@dataclass
class Site:
    """A Label Studio on PostgreSQL that can be stopped and started again."""

    folder: Path
    database: str
    port: int

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @contextmanager
    def running(self) -> Iterator[LabelStudio]:
        """It runs for as long as the block lasts; a client of the same token each time."""
        secrets = Secrets(self.folder / "secrets")
        password = secrets.make("password")
        where = urlsplit(self.database)
        program = studio_program(
            self.folder / "studio", venv=STUDIO_VENV, port=self.port, password=password, files_root=self.folder
        )
        named = {
            "DJANGO_DB": "default",
            "POSTGRE_HOST": where.hostname or "",
            "POSTGRE_PORT": str(where.port),
            "POSTGRE_NAME": where.path[1:],
            "POSTGRE_USER": where.username or "",
            "POSTGRE_PASSWORD": PASSWORD,
        }
        supervisor = Supervisor(self.folder / "logs")
        supervisor.start(replace(program, environment={**program.environment, **named}))
        try:
            supervisor.wait_until(lambda: studio_answers(self.url), what="Label Studio", timeout_s=240)
            token = personal_access_token(self.url, password=password, secrets=secrets)
            yield LabelStudio(Settings(label_studio_url=self.url, label_studio_api_key=token))
        finally:
            supervisor.stop()


@pytest.fixture
def site(tmp_path: Path, postgres: str) -> Site:
    query(f"{postgres}/postgres", "CREATE DATABASE label_studio")
    return Site(tmp_path, f"{postgres}/label_studio", free_port())


@pytest.fixture
def drape(site: Site, redis_address: str) -> Drape:
    """The commands, with the settings that the service `backup` of docker-compose.yml has."""
    environment = environment_of(
        LABEL_STUDIO_URL=site.url,
        LABEL_STUDIO_DATABASE=site.database,
        POSTGRES_PASSWORD=PASSWORD,
        LABEL_STUDIO_FILES=str(site.folder / "studio" / "media"),
        REDIS_URL=redis_address,
        DATA_DIR=str(site.folder / "drape"),
    )
    return partial(run_drape, environment=environment)


def bearer(studio: LabelStudio) -> dict[str, str]:
    return {"Authorization": studio.bearer()}


def images_of(studio: LabelStudio, project_id: int) -> dict[int, str]:
    return {task["id"]: task["data"]["image"] for task in studio.tasks(project_id, studio.task_ids(project_id))}


@pytest.mark.services
@pytest.mark.long
@pytest.mark.timeout(900)
def test_backup_and_restore_on_postgresql(
    site: Site, drape: Drape, redis_address: str, tmp_path: Path, starter: Path
) -> None:
    registry, file = Registry(tmp_path / "drape" / "models"), tmp_path / "backups" / "kept.tar.gz"
    queues = Queues(Settings(redis_url=redis_address))
    write_images(tmp_path / "photographs", [900, 901])
    first, second = sorted((tmp_path / "photographs").iterdir())
    with site.running() as studio:
        project_id = studio.sdk.projects.create(title="साड़ी", label_config=config_xml("every_region_type")).id
        upload(site.url, bearer(studio), project_id, first)
        ((task_id, image),) = images_of(studio, project_id).items()
        annotation = studio.sdk.annotations.create(task_id, result=[], lead_time=7.5)
        version = add_starter(registry, project_id, starter)
        registry.promote(project_id, version.name)
        queues.prelabelling(project_id, version=version.name).add([task_id])
        waiting = Queue(PRELABEL, connection=queues.redis).get_job_ids()
        said = drape("backup", file)
        assert file.is_file() and "database" in said and "uploads" in said, said

        # What comes later goes, what is lost comes back.
        studio.sdk.annotations.delete(annotation.id)
        upload(site.url, bearer(studio), project_id, second)
        later = studio.sdk.projects.create(title="later", label_config=config_xml("every_region_type")).id
        assert "Label Studio runs at" in drape("restore", file)
    with Redis.from_url(redis_address) as redis:
        redis.flushall()
    shutil.rmtree(tmp_path / "drape" / "models")
    (uploaded,) = (tmp_path / "studio" / "media").rglob(f"*{first.name}")
    uploaded.unlink()
    assert "There is data already" in drape("restore", file)
    said = drape("restore", file, "--force")
    assert "1 model versions are complete, 1 jobs are waiting" in said and "Start Label Studio" in said, said

    with site.running() as studio:
        assert images_of(studio, project_id) == {task_id: image}
        (kept,) = studio.sdk.annotations.list(task_id)
        assert (kept.id, kept.lead_time) == (annotation.id, 7.5)
        assert later not in [project.id for project in studio.sdk.projects.list()]
        shown = httpx.get(site.url + image, headers=bearer(studio), timeout=30)
        assert shown.content == first.read_bytes()
        assert not list((tmp_path / "studio" / "media").rglob(f"*{second.name}"))
        # It goes on: numbers begin where nothing is in their way.
        upload(site.url, bearer(studio), project_id, second)
        assert len(images_of(studio, project_id)) == 2
    champion = registry.champion(project_id)
    assert champion is not None and champion.name == version.name
    check_weights(champion)
    assert Queue(PRELABEL, connection=queues.redis).get_job_ids() == waiting
