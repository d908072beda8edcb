"""The whole stack under a supervisor, with functions that inject faults: see `faults`."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from redis import Redis

from backend.label_studio.client import LabelStudio
from backend.queues.queues import PRELABEL, QUEUES, Queues
from backend.registry.registry import Registry
from backend.settings import Settings
from benchmarks.faults.proxy import Proxy
from benchmarks.services import STUDIO_VENV, watched
from label_studio_config.demo.write import write_images
from label_studio_config.palette_xml import GARMENTS, palette
from label_studio_config.provision import (
    Backend,
    connect_backend,
    ensure_local_files,
    ensure_project,
    give_starter_model,
)
from launcher.stack.health import backend_answers
from launcher.stack.label_studio_server import personal_access_token, studio_answers, studio_program
from launcher.stack.redis_server import redis_answers, redis_program, redis_url
from launcher.stack.secret_files import Secrets
from launcher.stack.stack import child_environment
from launcher.stack.supervisor import Program, Supervisor, free_port

FIGURES, FIRST_FIGURE = 12, 500
# As large as a disk has to be for all that a few trainings leave.
DISK_MB = 1500
CHECK_EVERY_S = 10
# Longer than any fault, so that only a worker that died counts as dead.
WORKER_LOST_AFTER_S = 8
TRAINING_EPOCHS = 1
POLL_S = 0.1
# How long a process may take to restart.
RESTART_TIMEOUT_S = 150.0
# A process is begun anew with a clock that is off, and once more to set it right: libfaketime moves the clock that only
# goes forwards, too, which a running process must not see jump.
CLOCK_SCRIPT = (
    'read -r offset < "$0"; if [ "$offset" != 0 ]; then export LD_PRELOAD="$1" FAKETIME="$offset"; fi; shift; exec "$@"'
)
# Two pre-label, as they did twice what was promoted at the wrong moment.
WORKERS = {**{f"worker-{queue}": queue for queue in QUEUES}, f"worker-{PRELABEL}-2": PRELABEL}
PROCESSES = ("redis", "label-studio", "backend", *WORKERS, "timer")
LINKS = ("to-redis", "to-label-studio", "to-backend")
DURING_PREDICTIONS, DURING_TRAINING = "during predictions", "during a training"
# How often each kind of fault is drawn, in proportion. A deadly job takes minutes to be given up.
SHARES = {
    "kill": 2.0,
    "restart": 1.0,
    "stop": 1.0,
    "drop": 1.0,
    "delay": 1.0,
    "refuse": 1.0,
    "promote": 1.0,
    "forbidden": 0.5,
    "deadly": 0.5,
    "full": 1.0,
    "skew": 1.0,
}


@dataclass(frozen=True)
class Fault:
    """What is done to what, for how many seconds.

    Attributes:
        kind: `kill`, `restart` or `stop` a process; `drop` or `delay` a link's connections; `skew` a process's clock;
            `full`: the disk has no space; `refuse`: Redis stores nothing; `promote`: another version of the project,
            while tasks are predicted or during a training; `forbidden`: a task whose image Label Studio answers with
            403; `deadly`: a job that kills each worker that runs it.
        amount: how far a clock is off, or how long a link delays.
    """

    kind: str
    target: str
    seconds: float
    amount: float = 0.0

    def __str__(self) -> str:
        return f"{self.kind} {self.target} {self.seconds:.1f} s" + (f" by {self.amount:.1f} s" if self.amount else "")


def draw_fault(rng: random.Random, *, disk: bool, clocks: bool) -> Fault:
    """Draws a random fault."""
    is_possible = {"full": disk, "skew": clocks}
    shares = {kind: share for kind, share in SHARES.items() if is_possible.get(kind, True)}
    (kind,) = rng.choices(list(shares), list(shares.values()))
    seconds = rng.uniform(0.5, 3.0)
    match kind:
        case "drop" | "delay":
            return Fault(kind, rng.choice(LINKS), seconds, rng.uniform(0.1, 1.2) if kind == "delay" else 0.0)
        case "full":
            return Fault(kind, "disk", seconds)
        case "refuse":
            return Fault(kind, "redis", seconds)
        case "promote":
            return Fault(kind, rng.choice((DURING_PREDICTIONS, DURING_TRAINING)), seconds)
        case "forbidden":
            return Fault(kind, "image", seconds)
        case "deadly":
            return Fault(kind, "job", seconds)
        case "skew":
            return Fault(kind, rng.choice(PROCESSES), seconds, rng.choice((-3600.0, -90.0, 90.0, 3600.0)))
        case _:
            return Fault(kind, rng.choice(PROCESSES), seconds)


class Rig:
    """The running stack, into which faults can be injected."""

    def __init__(self, folder: Path, *, disk: Path | None, faketime: Path | None) -> None:
        self.disk, self.faketime = disk, faketime
        self._folder = folder
        self._data = (disk or folder) / "data"
        self._clocks = folder / "clocks"
        self._clocks.mkdir()
        self._supervisor = Supervisor(folder / "logs", deaths_allowed=10**9, longest_pause_s=0.5)
        self.proxies: dict[str, Proxy] = {}
        self.studio_url = ""
        self.redis_url = ""

    @contextmanager
    def running(self) -> Iterator[tuple[Settings, int]]:
        """Runs the stack; yields settings that bypass the proxies, and the project's id.

        Raises:
            LauncherError, DrapeError: something does not start.
        """
        with ExitStack() as stack:
            settings, proxied_settings = self._start(stack)
            stack.enter_context(watched(self._supervisor))
            yield settings, self._provision(settings, proxied_settings)

    def _start(self, stack: ExitStack) -> tuple[Settings, Settings]:
        secrets = Secrets(self._folder / "secrets")
        ports = {name: free_port() for name in ("redis", "studio", "backend", *LINKS)}
        self.redis_url = redis_url(ports["redis"], "faults")
        self.studio_url = f"http://127.0.0.1:{ports['studio']}"
        password = secrets.make("password")
        targets = {"to-redis": "redis", "to-label-studio": "studio", "to-backend": "backend"}
        for link, target in targets.items():
            self.proxies[link] = stack.enter_context(Proxy(ports[link], to=ports[target]))
        # After the proxies, which so end after the services.
        stack.callback(self._supervisor.stop)
        self._begin(redis_program((self.disk or self._folder) / "redis", port=ports["redis"], password="faults"))
        studio = studio_program(
            self._folder / "studio",
            venv=STUDIO_VENV,
            port=ports["studio"],
            password=password,
            files_root=self._folder / "files",
        )
        self._begin(studio)
        self._supervisor.wait_until(lambda: redis_answers(self.redis_url), what="Redis", timeout_s=60)
        self._supervisor.wait_until(lambda: studio_answers(self.studio_url), what="Label Studio", timeout_s=400)
        key = personal_access_token(self.studio_url, password=password, secrets=secrets)
        settings = Settings(
            data_dir=self._data,
            model_dir=None,
            port=ports["backend"],
            label_studio_url=self.studio_url,
            label_studio_api_key=key,
            redis_url=self.redis_url,
            device="cpu",
            segmenter="builtin",
            local_files_root=self._folder / "files",
            webhook_secret="faults",
            basic_auth_user="studio",
            basic_auth_pass="faults",
            approval="submitted",
            auto_accept="off",
            retrain_after=10**6,
            check_every_s=CHECK_EVERY_S,
            worker_lost_after_s=WORKER_LOST_AFTER_S,
            train_epochs=TRAINING_EPOCHS,
            train_batch=4,
            prelabel_chunk=8,
            promote_margin=-1,
            promote_class_drop=1,
            label_studio_timeout_s=10,
        )
        proxied_settings = settings.model_copy(
            update={
                "label_studio_url": f"http://127.0.0.1:{ports['to-label-studio']}",
                "redis_url": redis_url(ports["to-redis"], "faults"),
            }
        )
        drape, environment = [sys.executable, "-m", "launcher.cli"], child_environment(proxied_settings)
        root = Path(__file__).parent.parent.parent
        self._begin(Program("backend", [*drape, "serve"], environment, root))
        for name, queue in WORKERS.items():
            self._begin(Program(name, [*drape, "worker", "--queue", queue], environment, root))
        self._begin(Program("timer", [*drape, "timer"], environment, root))
        self._supervisor.wait_until(
            lambda: backend_answers(settings.backend_address), what="The backend", timeout_s=180
        )
        return settings, proxied_settings

    def _begin(self, program: Program) -> None:
        if self.faketime is None:
            self._supervisor.start(program)
            return
        clock = self._clocks / program.name
        clock.write_text("0\n")
        command = ["/bin/sh", "-c", CLOCK_SCRIPT, str(clock), str(self.faketime), *program.command]
        self._supervisor.start(Program(program.name, command, program.environment, program.folder))

    def _provision(self, settings: Settings, proxied_settings: Settings) -> int:
        studio = LabelStudio(settings)
        folder = self._folder / "files" / "figures"
        write_images(folder, range(FIRST_FIGURE, FIRST_FIGURE + FIGURES))
        project_id = ensure_project(studio, title="faults", label_config=palette(GARMENTS))
        give_starter_model(project_id, settings)
        _add_second_version(project_id, settings)
        backend = Backend(
            url=f"http://127.0.0.1:{self.proxies['to-backend'].port}",
            user=settings.basic_auth_user,
            password=settings.basic_auth_pass,
            webhook_secret=settings.webhook_secret,
        )
        connect_backend(studio, project_id=project_id, backend=backend)
        ensure_local_files(studio, project_id=project_id, folder=folder)
        Queues(settings).enqueue_plan(project_id)
        return project_id

    @contextmanager
    def inject(self, fault: Fault) -> Iterator[None]:
        """Injects the fault for as long as the block lasts, and then heals it."""
        match fault.kind:
            case "kill" | "restart":
                self._signal(fault.target, signal.SIGKILL if fault.kind == "kill" else signal.SIGTERM)
                yield
            case "stop":
                pid = self._signal(fault.target, signal.SIGSTOP)
                try:
                    yield
                finally:
                    with suppress(ProcessLookupError):
                        os.killpg(pid, signal.SIGCONT)
            case "drop" | "delay":
                proxy = self.proxies[fault.target]
                proxy.delay_s, proxy.refuses = fault.amount, fault.kind == "drop"
                if fault.kind == "drop":
                    proxy.drop()
                try:
                    yield
                finally:
                    proxy.heal()
            case "full":
                with fill_disk(self._data.parent):
                    yield
            case "refuse":
                with Redis.from_url(self.redis_url) as redis:
                    # Less than it holds, and it evicts nothing: it refuses every write.
                    redis.config_set("maxmemory", 1)
                    try:
                        yield
                    finally:
                        redis.config_set("maxmemory", 0)
            case "promote" | "forbidden" | "deadly":
                # All of these are work, which the harness does.
                yield
            case "skew":
                clock = self._clocks / fault.target
                clock.write_text(f"{fault.amount:+.0f}\n")
                before = self._signal(fault.target, signal.SIGTERM)
                try:
                    self._wait_for(fault.target, before)
                    yield
                finally:
                    clock.write_text("0\n")
                    self._wait_for(fault.target, before)
                    self._signal(fault.target, signal.SIGTERM)
            case _:
                raise ValueError(f"No such fault: {fault.kind}")

    def _wait_for(self, name: str, before: int) -> None:
        """Waits until a process other than `before` runs under this name, or the timeout is over."""
        deadline = time.monotonic() + RESTART_TIMEOUT_S
        while self._supervisor.processes().get(name) in (None, before) and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def _signal(self, name: str, number: signal.Signals) -> int:
        pid = self._supervisor.processes()[name]
        # Its own children too: a training runs in one. A worker that is asked to end, ends it itself.
        with suppress(ProcessLookupError):
            os.kill(pid, number) if number == signal.SIGTERM else os.killpg(pid, number)
        return pid

    def is_up(self, settings: Settings) -> bool:
        """Whether all processes run and all services answer."""
        return (
            set(self._supervisor.processes()) == set(PROCESSES)
            and redis_answers(self.redis_url)
            and studio_answers(self.studio_url)
            and backend_answers(settings.backend_address)
        )


def _add_second_version(project_id: int, settings: Settings) -> None:
    """Adds the starter model a second time, so that there is another version to promote."""
    registry = Registry.of(settings)
    (starter,) = registry.versions(project_id)
    registry.add(
        project_id,
        weights=starter.weights,
        classes=starter.classes,
        parent=starter.name,
        metrics=starter.metrics,
        annotations={},
        image_size_px=starter.image_size_px,
        origin="starter",
    )


@contextmanager
def fill_disk(folder: Path) -> Iterator[None]:
    """Fills the folder's disk to the last byte while the block lasts."""
    filler = folder / "filler"
    try:
        with filler.open("wb", buffering=0) as file, suppress(OSError):
            for size in (1 << 20, 1 << 12, 1):
                with suppress(OSError):
                    while file.write(b"\0" * size) == size:
                        pass
        yield
    finally:
        filler.unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path) -> Iterator[Path | None]:
    """Mounts a small file system in memory; yields None where this user may not mount one."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m", "tmpfs", str(folder)]
    try:
        mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        yield None
        return
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=False)
