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

from backend.telemetry.logs import LogFormat, make_log_handler
from launcher.commands.terminal import Terminal
from launcher.errors import LauncherError
from launcher.stack.saved_settings import complete, kept_settings, read_settings

console = Terminal()
# These libraries log every request; those for S3, at DEBUG, also its headers, which hold a session token.
TALKATIVE = ("httpx", "botocore", "aiobotocore", "s3fs")

# How long a request may still run when the backend stops.
GRACE_S = 3
# A tenth of Python's default; `serve` says why.
SWITCH_S = 0.0005

DataDir = Annotated[Path | None, typer.Option(help="Directory for everything that is kept. Default: var.")]


def start_logs(level: str, *, log_format: LogFormat = "text", rich: bool = False) -> None:
    """Writes log records to the terminal: as lines or JSON, or with `rich` in colours for a person who watches."""
    if rich:
        handler: logging.Handler = RichHandler(
            console=console, show_path=False, show_level=False, omit_repeated_times=False
        )
        logging.basicConfig(level=level, format="%(message)s", handlers=[handler])
    else:
        logging.basicConfig(level=level, handlers=[make_log_handler(log_format)])
        # Python's warnings become log records too; else they would be bare lines between the records.
        logging.captureWarnings(True)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


def up(
    images: Annotated[Path | None, typer.Option(help="Folder of your own photographs; without it, the demo.")] = None,
    labels: Annotated[str, typer.Option(help="Labels of your own, separated by commas.")] = "",
    port: Annotated[int | None, typer.Option(help="Port of the backend.")] = None,
    studio_port: Annotated[int, typer.Option(help="Port of Label Studio.")] = 8080,
    redis_port: Annotated[int, typer.Option(help="Port of Redis.")] = 6399,
    studio_venv: Annotated[Path, typer.Option(help="Environment that Label Studio is installed in.")] = Path(
        ".venv-label-studio"
    ),
    figures: Annotated[int, typer.Option(help="Drawn figures in the demo project.")] = 24,
    backend_url: Annotated[
        str, typer.Option(help="Where a Label Studio of your own reaches the backend. Default: BACKEND_URL.")
    ] = "",
    data_dir: DataDir = None,
) -> None:
    """Starts the backend, its workers, and Label Studio and Redis where none is configured; stops them on Ctrl-C."""
    from launcher.stack.stack import Options, Stack, StopAsked, stop_signals

    start_logs("INFO", rich=True)
    settings = read_settings(port=port, data_dir=data_dir)
    settings.check_projects()
    wanted = tuple(label.strip() for label in labels.split(",") if label.strip())
    options = Options(
        studio_port=studio_port,
        redis_port=redis_port,
        studio_venv=studio_venv,
        images=images,
        labels=wanted,
        figures=figures,
        backend_url=backend_url,
    )
    stack = Stack(settings, options)
    try:
        with stop_signals(), stack.running() as ready:
            console.print()
            console.print(f"[bold]Label Studio:[/] {ready.url}/projects/{ready.project_id}/data")
            if ready.password:
                console.print(f"[bold]Login:[/] {ready.email}   [bold]Password:[/] {ready.password}", highlight=False)
            console.print(f"[bold]Status page:[/] {ready.backend_url}", highlight=False)
            who, word = escape(ready.settings.basic_auth_user), escape(ready.settings.basic_auth_pass)
            console.print(f"[bold]Its login:[/] {who}   [bold]Password:[/] {word}", highlight=False)
            console.print("1. Open a task: what the model found is there already. Correct it and submit.")
            console.print(
                "2. Switch on Auto-Annotation, take the smart point, press a label's number, click a garment."
            )
            first = max(settings.retrain_after, settings.retrain_min_images)
            console.print(f"3. After {first} submitted images the model is trained again by itself.")
            console.print("Ctrl-C stops everything; nothing is lost.")
            stack.wait()
    except StopAsked:
        console.print("Stopped.")


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
    # A webhook takes Python's global lock a dozen times, and each time waits behind the threads that compute.
    sys.setswitchinterval(SWITCH_S)
    # Each click runs in its own thread; with a heap for each, threads would hold memory that they no longer use.
    limit_heaps()
    uvicorn.run(
        create_app(settings),
        host=settings.host,
        port=settings.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=GRACE_S,
    )


def worker(
    queue: Annotated[list[str] | None, typer.Option(help="Queue to work on; may be given again. Default: all.")] = None,
) -> None:
    """Runs queued jobs: pre-annotation, counts of new labels, trainings."""
    from threadpoolctl import threadpool_limits

    from backend.queues.lost_jobs import put_back_lost_jobs
    from backend.queues.queues import QUEUES, TRAIN, Jobs, Queues
    from backend.queues.worker import GarmentWorker, ResidentWorker
    from launcher.stack.priority import TRAINING, WORKER, give_way

    settings = read_settings()
    settings.check_projects()
    start_logs(settings.log_level, log_format=settings.log_format)
    # Imported before RQ forks its work-horses, so that each starts without delay; these imports do not touch CUDA.
    for job in (Jobs.PRELABEL, Jobs.EMBED, Jobs.TRAIN):
        importlib.import_module(job.rpartition(".")[0])
    importlib.import_module("ultralytics.models.yolo")
    names, connection = queue or list(QUEUES), Queues(settings).redis
    put_back_lost_jobs(connection, names)
    give_way(TRAINING if TRAIN in names else WORKER)
    # To cancel a training, its process must end. Other jobs run faster in one process that keeps its models loaded.
    kind = GarmentWorker if TRAIN in names else ResidentWorker
    # numpy's matrix products are small here: BLAS threads would only spin, and take cores from the models.
    with threadpool_limits(limits=1, user_api="blas"):
        kind(names, connection=connection).work(logging_level=settings.log_level)


def timer() -> None:
    """Checks every project at an interval (CHECK_EVERY_S), to find the changes whose webhooks were lost."""
    from backend.queues.queues import Queues
    from backend.queues.timer import timer as make_timer

    settings = kept_settings()
    start_logs(settings.log_level, log_format=settings.log_format)
    make_timer(Queues(settings).redis, every_s=settings.check_every_s).start()


def healthy(what: Annotated[Literal["worker", "timer"], typer.Argument(help="What runs in this container.")]) -> None:
    """Exits with 1 unless Redis lists this machine's worker or timer; for the health checks of containers."""
    from launcher.stack.health import timer_is_known, worker_is_known

    is_known = worker_is_known if what == "worker" else timer_is_known
    if not is_known(kept_settings()):
        raise LauncherError(f"Redis knows no {what} of this machine, or does not answer.")


def doctor(
    project: Annotated[
        int | None, typer.Option(help="Number of the one project to look at. Default: every connected one.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Checks Label Studio, Redis, the workers, weights and this machine, and says what to do. Changes nothing."""
    from launcher.doctor.findings import show_findings
    from launcher.doctor.run_checks import run_checks

    settings = complete(read_settings(data_dir=data_dir))
    # The table says everything that a user needs; libraries' warnings would only interrupt it.
    start_logs("DEBUG" if settings.log_level == "DEBUG" else "CRITICAL")
    if not show_findings(run_checks(settings, project_id=project), console):
        raise typer.Exit(1)
