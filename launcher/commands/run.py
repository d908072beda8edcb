"""`drape up`, the processes that it starts (backend, workers, timer), and the commands that check them."""

from __future__ import annotations

import importlib
import logging
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.logging import RichHandler
from rich.markup import escape

from backend.settings import Settings
from backend.telemetry import logs
from backend.telemetry.logs import LogFormat
from launcher.commands.options import STUDIO_VENV, DataDir, StudioVenv, label_config_for
from launcher.commands.terminal import Terminal
from launcher.errors import LauncherError
from launcher.stack.leftovers import delete_all_leftovers
from launcher.stack.saved_settings import complete, read_settings, saved_settings

console = Terminal()

# How long a request may still run when the backend stops.
SHUTDOWN_TIMEOUT_S = 3
# A tenth of Python's default; `serve` says why.
SWITCH_INTERVAL_S = 0.0005


def start_logs(level: str, *, log_format: LogFormat = "text", rich: bool = False) -> None:
    """Writes log records to the terminal: as lines or JSON, or with `rich` in colours for a person who watches."""
    if not rich:
        logs.start_logs(level, log_format=log_format)
        return
    handler = RichHandler(console=console, show_path=False, show_level=False, omit_repeated_times=False)
    logging.basicConfig(level=level, format="%(message)s", handlers=[handler])
    logs.quiet_libraries()


def up(
    images: Annotated[Path | None, typer.Option(help="Folder of your photographs. Default: the demo.")] = None,
    labels: Annotated[str, typer.Option(help="Your labels, separated by commas.")] = "",
    palette: Annotated[str, typer.Option(help="The labels of this palette; `drape palettes` lists them.")] = "",
    port: Annotated[int | None, typer.Option(help="Port of the backend.")] = None,
    studio_port: Annotated[int, typer.Option(help="Port of Label Studio.")] = 8080,
    redis_port: Annotated[int, typer.Option(help="Port of Redis.")] = 6399,
    studio_venv: StudioVenv = STUDIO_VENV,
    figures: Annotated[int, typer.Option(help="Number of drawn figures in the demo project.")] = 24,
    backend_url: Annotated[
        str, typer.Option(help="Address at which your own Label Studio reaches the backend. Default: BACKEND_URL.")
    ] = "",
    data_dir: DataDir = None,
) -> None:
    """Starts the backend, its workers, and, unless configured, Label Studio and Redis; stops them on Ctrl-C."""
    from backend.registry.registry import Registry
    from launcher.stack.health import download_note
    from launcher.stack.stack import Options, Stack, StopRequested, stop_signals

    start_logs("INFO", rich=True)
    settings = read_settings(port=port, data_dir=data_dir)
    settings.check_projects()
    options = Options(
        studio_port=studio_port,
        redis_port=redis_port,
        studio_venv=studio_venv,
        images=images,
        label_config=label_config_for(palette=palette, labels=labels, config=None) or "",
        figures=figures,
        backend_url=backend_url,
    )
    stack = Stack(settings, options)
    try:
        with stop_signals(), stack.running() as ready:
            console.print()
            console.print(f"[bold]Label Studio:[/] {ready.studio_url}/projects/{ready.project_id}/data")
            if ready.password:
                console.print(f"[bold]Login:[/] {ready.email}   [bold]Password:[/] {ready.password}", highlight=False)
            console.print(f"[bold]Status page:[/] {ready.backend_url}", highlight=False)
            user, password = escape(ready.settings.basic_auth_user), escape(ready.settings.basic_auth_pass)
            console.print(f"[bold]Its login:[/] {user}   [bold]Password:[/] {password}", highlight=False)
            if note := download_note(ready.settings):
                console.print(f"[bold]Model for clicks:[/] {escape(note)} The status page shows more.", highlight=False)
            has_model = Registry.of(ready.settings).champion(ready.project_id) is not None
            for number, step in enumerate(first_steps(settings, has_model=has_model), start=1):
                console.print(f"{number}. {step}")
            console.print("Ctrl-C stops everything. Nothing is lost.")
            stack.wait()
    except StopRequested:
        console.print("Stopped.")


def first_steps(settings: Settings, *, has_model: bool) -> tuple[str, str, str]:
    """Returns what to do first in a project."""
    needed = max(settings.retrain_after, settings.retrain_min_images)
    return (
        "Open a task: it shows the model's predictions. Correct them and submit."
        if has_model
        else "Open a task, outline its garments, and submit.",
        "Switch on Auto-Annotation, choose the smart point, press a label's number, click a garment.",
        f"After {needed} submitted images Drape trains {'the model again' if has_model else 'a first model'}.",
    )


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Runs only the backend."""
    import uvicorn

    from backend.app import create_app
    from backend.compute.malloc import limit_heaps

    settings = read_settings(host=host, port=port, data_dir=data_dir)
    settings.check_projects()
    start_logs(settings.log_level, log_format=settings.log_format)
    delete_all_leftovers(settings)
    # A webhook needs Python's global lock a dozen times, and each time it waits for the threads that compute.
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    # Each click runs in its own thread; with a heap for each, threads would hold memory that they no longer use.
    limit_heaps()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_TIMEOUT_S,
    )


def worker(
    queue: Annotated[
        list[str] | None, typer.Option(help="Queue to work on. Repeated: a process for each. Default: all queues.")
    ] = None,
) -> None:
    """Runs queued jobs: pre-annotation, counts of new labels, trainings."""
    from backend.queues.queues import QUEUES

    settings = read_settings()
    settings.check_projects()
    start_logs(settings.log_level, log_format=settings.log_format)
    delete_all_leftovers(settings)
    names = queue or list(QUEUES)
    if unknown := set(names) - set(QUEUES):
        raise LauncherError(f"There is no queue {', '.join(sorted(unknown))}. The queues: {', '.join(QUEUES)}.")
    if len(names) == 1:
        _work(names[0], settings)
    else:
        from launcher.stack.siblings import run_all

        run_all([[sys.executable, "-m", "launcher.cli", "worker", "--queue", name] for name in names])


def _work(queue: str, settings: Settings) -> None:
    from threadpoolctl import threadpool_limits

    from backend.queues.queues import CHECKS, PRELABEL, TRAIN, Jobs, Queues
    from backend.queues.worker import GarmentWorker, ResidentWorker
    from launcher.stack.priority import TRAINING, WORKER, lower_priority

    # Imported before the first job, which then starts without delay. Not PyTorch: it takes 500 MB, a worker on a CPU
    # predicts without it, and a training takes minutes anyway.
    jobs = {CHECKS: Jobs.CHECK_APPROVALS, PRELABEL: Jobs.PRELABEL, TRAIN: Jobs.TRAIN}
    importlib.import_module(jobs[queue].rpartition(".")[0])
    lower_priority(TRAINING if queue == TRAIN else WORKER)
    # To cancel a training, its process must end. Other jobs run faster in one process that keeps its models loaded.
    worker_class = GarmentWorker if queue == TRAIN else ResidentWorker
    # numpy's matrix products are small here: BLAS threads would only spin, and take cores from the models.
    with threadpool_limits(limits=1, user_api="blas"):
        running = worker_class(queue, connection=Queues(settings).redis, lost_after_s=settings.worker_lost_after_s)
        running.work(logging_level=settings.log_level)


def timer() -> None:
    """Checks every project at an interval (CHECK_EVERY_S), to find the changes whose webhooks were lost."""
    from backend.queues.queues import Queues
    from backend.timer import timer as make_timer

    settings = saved_settings()
    start_logs(settings.log_level, log_format=settings.log_format)
    make_timer(Queues(settings).redis, every_s=settings.check_every_s).start()


def healthy(what: Annotated[Literal["worker", "timer"], typer.Argument(help="What runs in this container.")]) -> None:
    """Exits with 1 unless Redis lists this machine's worker or timer; for the health checks of containers."""
    from launcher.stack.health import is_registered

    if not is_registered(what, saved_settings()):
        raise LauncherError(f"Redis lists no {what} of this machine, or does not answer.")


def doctor(
    project: Annotated[
        int | None, typer.Option(help="Id of the only project to check. Default: every connected project.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Checks Label Studio, Redis, the workers, weights and this machine, and says what to do. Changes nothing."""
    from launcher.doctor.findings import show_findings
    from launcher.doctor.run_checks import run_checks

    settings = complete(read_settings(data_dir=data_dir))
    # The table shows everything that a user needs; libraries' warnings would only interrupt it.
    start_logs("DEBUG" if settings.log_level == "DEBUG" else "CRITICAL")
    if not show_findings(run_checks(settings, project_id=project), console):
        raise typer.Exit(1)
