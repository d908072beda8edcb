"""Real services for the tests: each started on a free port, waited for, and ended."""

from __future__ import annotations

import gc
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from uuid import uuid4

import fastapi.dependencies.models
import httpx
import pytest
from hypothesis import HealthCheck
from hypothesis import settings as hypothesis_settings
from redis import Redis

from backend.compute.malloc import trim_heap
from backend.detector.preparation import preparation_folder
from backend.detector.prepare import prepare
from backend.detector.starter import STARTER
from backend.domain import Image
from backend.registry.registry import Registry
from backend.settings import Settings
from backend.storage.store import Bucket, Folder, Storage
from benchmarks.hosts.network import network
from label_studio_config.demo.figures import draw_figure
from launcher.backup.label_studio_database import SqliteDatabase, set_password
from launcher.errors import LauncherError
from launcher.stack.label_studio_server import EMAIL, personal_access_token, studio_answers, studio_program
from launcher.stack.redis_server import redis_answers, redis_program, redis_url
from launcher.stack.secret_files import Secrets
from launcher.stack.supervisor import Program, Supervisor, free_port
from tests.postgres import server
from tests.support import add_starter

ROOT = Path(__file__).parent.parent
STUDIO_VENV = ROOT / ".venv-label-studio"
ARTEFACTS = ROOT / "artefacts"
S3_ACCOUNT = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}

# No test asks the internet for weights, by a program that it starts neither.
os.environ["SAM_WEIGHTS"] = ""

# The same examples every time; `make fuzz` looks for others.
hypothesis_settings.register_profile("test", deadline=None, derandomize=True, database=None)
hypothesis_settings.register_profile(
    "fuzz", deadline=None, max_examples=10_000, database=None, suppress_health_check=list(HealthCheck)
)
hypothesis_settings.load_profile("test")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Fast tests first, then those with real services: what is broken shows early.

    Those that need Label Studio come last, because it starts meanwhile. Of them those with the browser come first:
    `drape up` beside Chromium takes the most memory, and this process takes more the more tests it has run.
    """
    items.sort(
        key=lambda item: (
            "services" in item.keywords,
            needs_label_studio(item) or "browser" in item.keywords,
            "browser" not in item.keywords,
        )
    )


def needs_label_studio(item: pytest.Item) -> bool:
    return isinstance(item, pytest.Function) and "label_studio" in item.fixturenames


@pytest.fixture(autouse=True)
def own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No setting leaks in from the shell that runs the tests."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    for name in ("PREDICT_DEADLINE", "LABEL_STUDIO_HOST", "BASE_WEIGHTS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SAM_WEIGHTS", "")


@pytest.fixture(scope="module", autouse=True)
def memory_given_back() -> Iterator[None]:
    """What a module's models took goes back to the system: of several that hold SAM 3 the allocator keeps it all."""
    yield
    # FastAPI remembers the functions of every application that was made, and through them its models.
    for remembered in vars(fastapi.dependencies.models).values():
        if hasattr(remembered, "cache_clear"):
            remembered.cache_clear()
    gc.collect()
    trim_heap()


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real Redis."""
    folder = tmp_path_factory.mktemp("redis")
    supervisor, port = Supervisor(folder / "logs"), free_port()
    url = redis_url(port, "test")
    supervisor.start(redis_program(folder, port=port, password="test"))
    try:
        supervisor.wait_until(lambda: redis_answers(url), what="Redis", timeout_s=30)
        yield url
    finally:
        supervisor.stop()


@pytest.fixture
def redis_address(redis_server: str) -> str:
    """Address of a real Redis that is empty."""
    with Redis.from_url(redis_server) as connection:
        connection.flushall()
    return redis_server


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """Address of a real PostgreSQL, to which `/name` of a database is added; its password is `postgres.PASSWORD`."""
    with server() as address:
        yield address


@pytest.fixture(scope="session")
def s3_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real server of S3."""
    supervisor, port = Supervisor(tmp_path_factory.mktemp("s3") / "logs"), free_port()
    command = [str(Path(sys.executable).with_name("moto_server")), "-H", "127.0.0.1", "-p", str(port)]
    supervisor.start(Program("s3", command, {"PATH": os.environ["PATH"]}, ROOT))

    def answers() -> bool:
        with suppress(httpx.HTTPError):
            return httpx.get(f"http://127.0.0.1:{port}/moto-api/").is_success
        return False

    try:
        supervisor.wait_until(answers, what="The server of S3", timeout_s=60)
        yield f"http://127.0.0.1:{port}"
    finally:
        supervisor.stop()


@pytest.fixture
def bucket(s3_server: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """`STORAGE_URL` of a bucket that is empty, for which the environment holds all that is needed."""
    for name, value in {**S3_ACCOUNT, "AWS_ENDPOINT_URL": s3_server}.items():
        monkeypatch.setenv(name, value)
    from s3fs import S3FileSystem

    name = f"drape-{uuid4().hex[:12]}"
    S3FileSystem(skip_instance_cache=True).mkdir(name)
    return f"s3://{name}/of/ours"


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.services)])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    """What several machines share, empty: a folder, and a bucket."""
    if request.param == "folder":
        return Folder(tmp_path / "shared")
    return Bucket(request.getfixturevalue("bucket"))


@dataclass(frozen=True)
class Studio:
    """A running stock Label Studio; local files are served from below `files`."""

    url: str
    api_key: str
    email: str
    password: str
    files: Path
    as_new: Path

    def copy_into(self, folder: Path, *, password: str) -> None:
        """Gives another Label Studio in `folder` its tables, which take half a minute to make, and the same account."""
        folder.mkdir(parents=True)
        database = folder / "label_studio.sqlite3"
        shutil.copy(self.as_new, database)
        set_password(database, email=EMAIL, password=password)


@dataclass(frozen=True)
class _StartedStudio:
    """A Label Studio that may not answer yet."""

    supervisor: Supervisor
    folder: Path
    url: str
    password: str
    secrets: Secrets


@pytest.fixture(scope="session", autouse=True)
def started_label_studio(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[_StartedStudio | None]:
    """A Label Studio that makes its tables, for half a minute, while tests run that do not need it; None if none do."""
    if not any(map(needs_label_studio, request.session.items)):
        yield None
        return
    folder = tmp_path_factory.mktemp("label-studio")
    (folder / "files").mkdir()
    supervisor, port, secrets = Supervisor(folder / "logs"), free_port(), Secrets(folder / "secrets")
    password = secrets.make("password")
    program = studio_program(
        folder / "data", venv=STUDIO_VENV, port=port, password=password, files_root=folder / "files"
    )
    # By itself it gives a backend a second to answer, in which a busy machine may do nothing at all.
    patient = dict.fromkeys(("ML_CONNECTION_TIMEOUT", "ML_TIMEOUT_HEALTH", "ML_TIMEOUT_SETUP", "WEBHOOK_TIMEOUT"), "30")
    supervisor.start(replace(program, environment={**program.environment, **patient}))
    try:
        yield _StartedStudio(supervisor, folder, f"http://127.0.0.1:{port}", password, secrets)
    finally:
        supervisor.stop()


@pytest.fixture(scope="session")
def label_studio(started_label_studio: _StartedStudio | None) -> Studio:
    """A real Label Studio with an account and its token."""
    started = started_label_studio
    assert started is not None
    folder, url, password = started.folder, started.url, started.password
    started.supervisor.wait_until(lambda: studio_answers(url), what="Label Studio", timeout_s=240)
    as_new = folder / "as-new.sqlite3"
    SqliteDatabase(folder / "data" / "label_studio.sqlite3").save(as_new)
    token = personal_access_token(url, password=password, secrets=started.secrets)
    return Studio(url, token, EMAIL, password, folder / "files", as_new)


@pytest.fixture(scope="session")
def chromium() -> str:
    """Path of Chromium; without one, browser tests are skipped, and fail under CI."""
    found = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if found:
        return found
    if os.environ.get("CI") == "true":
        pytest.fail("There is no Chromium, and under CI the browser test must run.")
    pytest.skip("There is no Chromium on this machine: install it (Debian: apt install chromium) to run this test.")


@pytest.fixture(scope="session")
def hosts_can_be_made() -> None:
    """Nothing; where network namespaces cannot be made, tests are skipped, and fail under CI."""
    try:
        with network(["probe"]):
            pass
    except LauncherError as e:
        if os.environ.get("CI") == "true":
            pytest.fail(f"{e} Under CI the tests with several hosts must run.")
        pytest.skip(f"{e} Run as root to run this test.")


@pytest.fixture(scope="session")
def prepared_starter(starter: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of the starter's preparation, made once: tests of other things copy it beside their version."""
    version = add_starter(Registry(tmp_path_factory.mktemp("prepared")), 1, starter)
    figures = [draw_figure(seed) for seed in range(400, 412)]
    prepare(version, [Image(one.pixels, str(number), "s") for number, one in enumerate(figures)], device="cpu")
    return preparation_folder(version)


@pytest.fixture(scope="session")
def starter() -> Path:
    """The starter model's weights: a real detector of drawn figures."""
    return STARTER
