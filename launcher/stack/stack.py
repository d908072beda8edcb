"""Starts everything that `drape up` runs, in order, and sets up a project in Label Studio."""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

from filelock import FileLock, Timeout

from backend.label_studio.client import LabelStudio
from backend.queues.queues import QUEUES, Queues
from backend.queues.redis_connection import REDIS_TIMEOUT_S
from backend.settings import Settings
from backend.telemetry.problems import Problems
from label_studio_config.demo.write import write_images, write_photographs
from label_studio_config.palette_xml import GARMENTS, palette
from label_studio_config.provision import (
    Backend,
    connect_backend,
    ensure_local_files,
    ensure_project,
    give_starter_model,
)
from label_studio_config.uploads import ensure_uploaded
from launcher.errors import LauncherError
from launcher.stack.health import backend_answers
from launcher.stack.label_studio_server import EMAIL, personal_access_token, studio_answers, studio_program
from launcher.stack.library_folders import library_folders
from launcher.stack.redis_server import check_redis, redis_answers, redis_program, redis_url
from launcher.stack.saved_settings import save_settings
from launcher.stack.secret_files import Secrets
from launcher.stack.supervisor import Program, Supervisor, check_port, inherited_environment

logger = logging.getLogger(__name__)

DEMO_TITLE = "Drape demo: drawn figures"
DEMO_FIGURES = 24
# First seed of the demo's figures; the starter model was trained and validated on other seeds.
FIRST_DEMO_SEED = 0
BACKEND_USER = "label-studio"
# The name becomes part of the project's title, whose length Label Studio limits.
MAX_NAME_LENGTH = 30
WATCH_EVERY_S = 0.3


@dataclass(frozen=True)
class Options:
    """The choices of the user on the command line; everything else is in the settings."""

    studio_port: int = 8080
    redis_port: int = 6399
    studio_venv: Path = Path(".venv-label-studio")
    images: Path | None = None
    label_config: str = ""
    figures: int = DEMO_FIGURES
    backend_url: str = ""


@dataclass(frozen=True)
class Ready:
    """Addresses and logins for the user, once everything runs; `password` is empty for the user's own Label Studio.

    `settings` are the settings that the backend and its workers run with.
    """

    studio_url: str
    email: str
    password: str
    backend_url: str
    project_id: int
    settings: Settings


class StopRequested(Exception):
    """Raised on Ctrl-C or SIGTERM."""


class Stack:
    """Redis, Label Studio, the backend, its workers and the timer under one supervisor."""

    def __init__(self, settings: Settings, options: Options) -> None:
        self.options = options
        if options.label_config and options.images is None:
            raise LauncherError(
                "LABELS (--labels) and PALETTE (--palette) need IMAGES (--images) too: the demo has its own labels."
            )
        self._data = settings.data_dir.resolve()
        self._data.mkdir(parents=True, exist_ok=True)
        _make_private(self._data)
        self._secrets = Secrets(self._data / "secrets")
        self._supervisor = Supervisor(self._data / "logs", on_parked=self._report)
        self._own_studio = not (settings.label_studio_url and settings.label_studio_api_key)
        self._own_redis = not settings.redis_url
        self._settings = settings
        self._redis = settings.redis_url

    @contextmanager
    def running(self) -> Iterator[Ready]:
        """Starts and provisions everything; stops it, and leaves no process behind, when the block ends.

        Raises:
            LauncherError, LabelStudioError: a part cannot start; the message says what to do.
        """
        with self._lock():
            self._check_ports()
            try:
                yield self._start()
            finally:
                # A second Ctrl-C must not leave processes behind.
                with stop_signals(signal.SIG_IGN):
                    self._supervisor.stop()

    def watch(self) -> None:
        """Checks every process once, and restarts those that died."""
        self._supervisor.watch()

    def processes(self) -> dict[str, int]:
        """Program name → process id, of the programs that run."""
        return self._supervisor.processes()

    def wait(self) -> None:
        """Supervises the processes until Ctrl-C or SIGTERM.

        Raises:
            LauncherError: a process cannot be started at all.
        """
        with stop_signals():
            try:
                while True:
                    self.watch()
                    time.sleep(WATCH_EVERY_S)
            except StopRequested:
                logger.info("Stopping")

    @contextmanager
    def _lock(self) -> Iterator[None]:
        try:
            with FileLock(self._data / "up.lock", timeout=0):
                yield
        except Timeout as e:
            raise LauncherError(
                f"Another `drape up` runs in {self._data}. Stop it, or choose another --data-dir."
            ) from e

    def _check_ports(self) -> None:
        check_port(self._settings.port, what="the backend", option="PORT=… (--port)")
        if self._own_studio:
            check_port(self.options.studio_port, what="Label Studio", option="STUDIO_PORT=… (--studio-port)")
        if self._own_redis:
            check_port(self.options.redis_port, what="Redis", option="REDIS_PORT=… (--redis-port)")

    def _start(self) -> Ready:
        self._redis = self._start_redis()
        studio_url, api_key, password = self._start_studio()
        settings = self._child_settings(label_studio_url=studio_url, api_key=api_key)
        save_settings(settings)
        backend_url = self._start_backend(settings)
        project_id = self._provision(settings)
        return Ready(studio_url, EMAIL if password else "", password, backend_url, project_id, settings)

    def _report(self, message: str) -> None:
        """Shows a problem on the status page; while Redis is unreachable, only the log has it."""
        settings = self._settings.model_copy(update={"redis_url": self._redis})
        Problems(Queues(settings, answer_within_s=REDIS_TIMEOUT_S).redis).report(message)

    def _start_redis(self) -> str:
        if not self._own_redis:
            check_redis(self._settings.redis_address)
            return self._settings.redis_url
        logger.info("Starting Redis")
        password = self._secrets.make("redis-password")
        url = redis_url(self.options.redis_port, password)
        program = redis_program(self._data / "redis", port=self.options.redis_port, password=password)
        self._supervisor.start(program)
        self._supervisor.wait_until(lambda: redis_answers(url), what="Redis", timeout_s=30)
        return url

    def _start_studio(self) -> tuple[str, str, str]:
        if not self._own_studio:
            return self._settings.label_studio_url, self._settings.label_studio_api_key, ""
        # Checks the folder of images before anything slow begins.
        self._images()
        logger.info("Starting Label Studio (the first start takes a minute, because it creates its database)")
        password = self._secrets.make("label-studio-password")
        url = f"http://127.0.0.1:{self.options.studio_port}"
        self._supervisor.start(
            studio_program(
                self._data / "label-studio",
                venv=self.options.studio_venv,
                port=self.options.studio_port,
                password=password,
                files_root=self._data / "images",
            )
        )
        self._supervisor.wait_until(lambda: studio_answers(url), what="Label Studio", timeout_s=300)
        return url, personal_access_token(url, password=password, secrets=self._secrets), password

    def _child_settings(self, *, label_studio_url: str, api_key: str) -> Settings:
        # Drape's own Label Studio serves this folder, so the workers may read images from it directly.
        files_root = self._data / "images" if self._own_studio else self._settings.local_files_root
        storage = self._settings.storage_url
        project_settings = self._settings.project_settings
        return self._settings.model_copy(
            update={
                "data_dir": self._data,
                # The child processes run in another folder, where a relative path would not be found.
                "project_settings": str(Path(project_settings).resolve()) if project_settings else "",
                "storage_url": str(Path(storage).resolve()) if storage and "://" not in storage else storage,
                "local_files_root": files_root,
                "label_studio_url": label_studio_url,
                "label_studio_api_key": api_key,
                "redis_url": self._redis,
                "basic_auth_user": self._settings.basic_auth_user or BACKEND_USER,
                "basic_auth_pass": self._settings.basic_auth_pass or self._secrets.make("backend-password"),
                "webhook_secret": self._settings.webhook_secret or self._secrets.make("webhook-secret"),
            }
        )

    def _start_backend(self, settings: Settings) -> str:
        logger.info("Starting the backend and its workers")
        environment = child_environment(settings)
        drape = [sys.executable, "-m", "launcher.cli"]
        root = Path(__file__).parent.parent.parent
        self._supervisor.start(Program("backend", [*drape, "serve"], environment, root))
        for queue in QUEUES:
            command = [*drape, "worker", "--queue", queue]
            self._supervisor.start(Program(f"worker-{queue}", command, environment, root))
        self._supervisor.start(Program("timer", [*drape, "timer"], environment, root))

        url = f"http://127.0.0.1:{settings.port}"
        self._supervisor.wait_until(lambda: backend_answers(url), what="The backend", timeout_s=120)
        return url

    def _provision(self, settings: Settings) -> int:
        logger.info("Setting up the project")
        label_studio = LabelStudio(settings)
        is_demo = self.options.images is None
        images = self._images()
        title = DEMO_TITLE if is_demo else f"Drape: {images.name}"
        label_config = self.options.label_config or palette(GARMENTS)
        project_id = ensure_project(label_studio, title=title, label_config=label_config)
        backend = Backend(
            url=self.options.backend_url or settings.backend_address,
            user=settings.basic_auth_user,
            password=settings.basic_auth_pass,
            webhook_secret=settings.webhook_secret,
        )
        if is_demo:
            give_starter_model(project_id, settings)
        # Connected before the images arrive, because their arrival starts the pre-annotation.
        connect_backend(label_studio, project_id=project_id, backend=backend)
        if self.options.images is not None:
            warn_of_contents(self.options.images, project_id)
        if self._own_studio:
            ensure_local_files(label_studio, project_id=project_id, folder=images)
        else:
            ensure_uploaded(label_studio, project_id=project_id, folder=images)
        # Events were lost while no backend ran. These jobs make up for them; the timer does so for all other projects.
        queues = Queues(settings)
        queues.enqueue_plan(project_id)
        queues.enqueue_check(project_id)
        return project_id

    def _images(self) -> Path:
        """Returns the folder of images, inside the folder that Label Studio may serve; draws the demo if needed."""
        if self.options.images is not None:
            return linked_images(self.options.images, self._data / "images")
        folder = self._data / "images" / "demo"
        if not folder.is_dir():
            logger.info("Drawing %s demo figures", self.options.figures)
            partial = folder.with_name("demo.half")
            write_images(partial, range(FIRST_DEMO_SEED, FIRST_DEMO_SEED + self.options.figures))
            write_photographs(partial)
            partial.replace(folder)
        return folder


def linked_images(folder: Path, images: Path) -> Path:
    """Links the user's folder into `images`, the only folder whose files Label Studio serves, for all projects.

    The link's name is the folder's name with a digest of its path, so that two folders with one name do not collide.

    Raises:
        LauncherError: the folder does not exist.
    """
    source = folder.expanduser().resolve()
    if not source.is_dir():
        raise LauncherError(f"The folder {source} (IMAGES) does not exist.")
    digest = hashlib.sha256(str(source).encode()).hexdigest()[:6]
    link = images / f"{source.name[:MAX_NAME_LENGTH]}-{digest}"
    images.mkdir(parents=True, exist_ok=True)
    if not link.is_symlink():
        link.symlink_to(source, target_is_directory=True)
    return link


def warn_of_contents(folder: Path, project_id: int) -> None:
    """Logs a warning if a folder holds annotations, which `drape up` does not read, or images that nobody would see."""
    # Only here, because it loads the readers of all formats.
    from training.data_in.formats.annotation_files import in_words
    from training.data_in.formats.detect import annotated_format
    from training.data_in.picture_folder import is_picture, pictures_below

    others = [file for file in pictures_below(folder.expanduser()) if not is_picture(file)]
    if others:
        names = in_words(others, folder.expanduser())
        logger.warning("Browsers do not show images of these types: %s. Convert them to JPEG or PNG", names)
    if found := annotated_format(folder.expanduser()):
        logger.warning(
            "%s holds %s: its images come in without annotations. `drape import --project %s %s` adds them",
            folder,
            found,
            project_id,
            folder,
        )


def _raise_stop_requested(number: int, frame: FrameType | None) -> None:
    raise StopRequested


@contextmanager
def stop_signals(
    handler: Callable[[int, FrameType | None], None] | signal.Handlers = _raise_stop_requested,
) -> Iterator[None]:
    """Has `handler` handle SIGINT and SIGTERM while the block runs; by default it raises `StopRequested`."""
    previous = {number: signal.signal(number, handler) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, previous_handler in previous.items():
            signal.signal(number, previous_handler)


def child_environment(settings: Settings) -> dict[str, str]:
    """Environment of a child: the settings under their names in `Settings`, so that none is on its command line."""
    variables = {name.upper(): str(value) for name, value in settings.model_dump(exclude_none=True).items()}
    variables["PREDICT_DEADLINE"] = variables.pop("PREDICT_DEADLINE_S")
    # The credentials and the endpoint of an S3 bucket.
    s3 = {name: value for name, value in os.environ.items() if name.startswith("AWS_")}
    return {
        **inherited_environment(),
        **s3,
        **variables,
        **library_folders(settings.data_dir),
        "PYTHONUNBUFFERED": "1",
    }


def _make_private(folder: Path) -> None:
    """Keeps other accounts of this machine out of a folder; of one that another account owns, the rights stay."""
    with suppress(PermissionError):
        folder.chmod(0o700)
