"""A deployment over several hosts, as `network` makes them: see `hosts`."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import httpx

from backend.label_studio.client import LabelStudio
from backend.queues.queues import CHECKS, PRELABEL
from backend.settings import Settings
from benchmarks.hosts.network import Network, network
from benchmarks.services import STUDIO_VENV, watched
from label_studio_config.demo.write import write_images
from label_studio_config.palette_xml import GARMENTS, palette
from label_studio_config.provision import Backend, connect_backend, ensure_project, give_starter_model
from launcher.stack.label_studio_server import personal_access_token, studio_answers, studio_program
from launcher.stack.redis_server import redis_answers, redis_program, redis_url
from launcher.stack.secret_files import Secrets
from launcher.stack.stack import child_environment
from launcher.stack.supervisor import Program, Supervisor

STUDIO, BACKEND, OTHER, WORKERS = "studio", "backend", "other", "workers"
HOSTS = (STUDIO, BACKEND, OTHER, WORKERS)
REDIS_PORT, STUDIO_PORT, BACKEND_PORT, S3_PORT = 6379, 8080, 9090, 9000
BUCKET = "models"
ACCOUNT = {"AWS_ACCESS_KEY_ID": "hosts", "AWS_SECRET_ACCESS_KEY": "hosts", "AWS_DEFAULT_REGION": "us-east-1"}
PASSWORD, SECRET = "hosts", "hosts"
FIGURES, FIRST_FIGURE = 20, 900
CHECK_EVERY_S = 20
WORKER_LOST_AFTER_S = 6
# Of processes on the hosts, with one answer of Label Studio; and of this one.
HOST_TIMEOUT_S, OWN_TIMEOUT_S = 15, 120
# On a machine that others use too.
START_TIMEOUT_S = 600
ROOT = Path(__file__).parent.parent.parent


@dataclass
class HostRig:
    """What runs where.

    Attributes:
        settings: those of this process, which reaches all hosts and is none of them.
    """

    folder: Path
    network: Network
    supervisor: Supervisor
    settings: Settings
    project_id: int = 0
    images: list[str] = field(default_factory=list)

    def settings_for(self, host: str) -> Settings:
        """The settings that a host works with: it keeps its own files."""
        return self.settings.model_copy(
            update={
                "data_dir": self.folder / host,
                "host": self.network.hosts[host].address,
                "port": BACKEND_PORT,
                "label_studio_timeout_s": HOST_TIMEOUT_S,
            }
        )

    def environment(self, host: str) -> dict[str, str]:
        """A host's settings as the environment of its processes."""
        return {**child_environment(self.settings_for(host)), **s3_environment(self.network)}

    def start(self, name: str, host: str, *arguments: str) -> None:
        """Starts a `drape` command on a host."""
        self.settings_for(host).data_dir.mkdir(exist_ok=True)
        program = Program(name, [sys.executable, "-m", "launcher.cli", *arguments], self.environment(host), ROOT)
        self.supervisor.start(self.network.hosts[host].program(program))

    def run(self, host: str, *command: str) -> str:
        """Runs a command of Python's on a host to its end; what it printed, and what it complained of."""
        completed = self.network.hosts[host].run([sys.executable, *command], self.environment(host), ROOT)
        return completed.stdout + completed.stderr

    def url(self, host: str) -> str:
        """Where the backend of a host is."""
        return f"http://{self.network.hosts[host].address}:{BACKEND_PORT}"

    @property
    def auth(self) -> tuple[str, str]:
        """The backends' credentials."""
        return self.settings.basic_auth_user, self.settings.basic_auth_pass

    def answers(self, host: str) -> bool:
        """Whether the backend of a host does."""
        try:
            return httpx.get(f"{self.url(host)}/health", auth=self.auth, timeout=2).is_success
        except httpx.HTTPError:
            return False


def s3_environment(net: Network) -> dict[str, str]:
    """What the storage's own client reads from the environment."""
    return {**ACCOUNT, "AWS_ENDPOINT_URL": f"http://{net.hosts[STUDIO].address}:{S3_PORT}"}


@contextmanager
def host_rig(folder: Path, *, chunk: int) -> Iterator[HostRig]:
    """All of it up, with a project that has a palette, the starter model and both backends; ended with the block.

    Label Studio, Redis and S3, where the models are, are on one host, a backend and the timer on the second, a backend
    and a worker on the third, two workers on the fourth.

    Args:
        chunk: tasks in a job.

    Raises:
        LauncherError, DrapeError: something does not start.
    """
    with ExitStack() as stack:
        net = stack.enter_context(network(HOSTS))
        supervisor = Supervisor(folder / "logs", deaths_allowed=10**9, longest_pause_s=0.5)
        stack.callback(supervisor.stop)
        stack.enter_context(_environment(s3_environment(net)))
        settings = _start_services(folder, net, supervisor, chunk=chunk)
        rig = HostRig(folder, net, supervisor, settings)
        _start_backends(rig)
        stack.enter_context(watched(supervisor))
        _provision(rig)
        _start_workers(rig)
        yield rig


def _start_services(folder: Path, net: Network, supervisor: Supervisor, *, chunk: int) -> Settings:
    host = net.hosts[STUDIO]
    secrets, files = Secrets(folder / "secrets"), folder / "files"
    files.mkdir()
    redis = redis_url(REDIS_PORT, PASSWORD, host.address)
    studio = f"http://{host.address}:{STUDIO_PORT}"
    password = secrets.make("password")
    supervisor.start(
        host.program(redis_program(folder / "redis", port=REDIS_PORT, password=PASSWORD, address=host.address))
    )
    supervisor.start(
        host.program(
            studio_program(
                folder / "label-studio",
                venv=STUDIO_VENV,
                port=STUDIO_PORT,
                password=password,
                files_root=files,
                address=host.address,
            )
        )
    )
    s3 = [str(Path(sys.executable).with_name("moto_server")), "-H", host.address, "-p", str(S3_PORT)]
    supervisor.start(host.program(Program("s3", s3, {"PATH": os.environ.get("PATH", "")}, folder)))
    supervisor.wait_until(lambda: redis_answers(redis), what="Redis", timeout_s=60)
    supervisor.wait_until(lambda: _bucket_is_made(), what="S3", timeout_s=120)
    supervisor.wait_until(lambda: studio_answers(studio), what="Label Studio", timeout_s=START_TIMEOUT_S)
    return Settings(
        data_dir=folder / "desk",
        storage_url=f"s3://{BUCKET}/drape",
        label_studio_url=studio,
        redis_url=redis,
        device="cpu",
        label_studio_api_key=personal_access_token(studio, password=password, secrets=secrets),
        segmenter="builtin",
        webhook_secret=SECRET,
        basic_auth_user="studio",
        basic_auth_pass=SECRET,
        approval="submitted",
        auto_accept="off",
        retrain_after=10**6,
        check_every_s=CHECK_EVERY_S,
        worker_lost_after_s=WORKER_LOST_AFTER_S,
        prelabel_chunk=chunk,
        label_studio_timeout_s=OWN_TIMEOUT_S,
    )


def _bucket_is_made() -> bool:
    from s3fs import S3FileSystem

    try:
        S3FileSystem(skip_instance_cache=True).mkdir(BUCKET)
    except OSError:
        return False
    return True


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    """This process reads the models too."""
    before = {name: os.environ.get(name) for name in variables}
    os.environ.update(variables)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _start_backends(rig: HostRig) -> None:
    for host in (BACKEND, OTHER):
        rig.start(f"{host}-serve", host, "serve")
    for host in (BACKEND, OTHER):
        rig.supervisor.wait_until(partial(rig.answers, host), what=f"The backend {host}", timeout_s=START_TIMEOUT_S)


def _start_workers(rig: HostRig) -> None:
    rig.start("timer", BACKEND, "timer")
    queues = [part for queue in (CHECKS, PRELABEL) for part in ("--queue", queue)]
    rig.start(f"{OTHER}-worker", OTHER, "worker", *queues)
    for number in (1, 2):
        rig.start(f"worker-{number}", WORKERS, "worker", *queues)


def _provision(rig: HostRig) -> None:
    studio = LabelStudio(rig.settings)
    folder = rig.folder / "files" / "figures"
    paths = write_images(folder, range(FIRST_FIGURE, FIRST_FIGURE + FIGURES))
    rig.images = [f"/data/local-files/?d=figures/{path.name}" for path in paths]
    rig.project_id = ensure_project(studio, title="hosts", label_config=palette(GARMENTS))
    # Label Studio serves a local file to whom a storage of a project of theirs shows it.
    studio.sdk.import_storage.local.create(
        project=rig.project_id, title="Figures", path=str(folder), use_blob_urls=True
    )
    give_starter_model(rig.project_id, rig.settings)
    backend = Backend(url=rig.url(BACKEND), user=rig.auth[0], password=rig.auth[1], webhook_secret=SECRET)
    connect_backend(studio, project_id=rig.project_id, backend=backend)
