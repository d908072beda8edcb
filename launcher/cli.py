"""The `drape` command."""

from __future__ import annotations

import importlib
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.logging import RichHandler

from backend.errors import DrapeError
from launcher import models
from launcher.errors import LauncherError
from launcher.kept import kept_settings, read_settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="An annotation flywheel for Label Studio.")
app.add_typer(models.app, name="models")
console = Console()

# A request that is being answered may take this long to end when the backend is stopped.
GRACE_S = 3

DataDir = Annotated[Path | None, typer.Option(help="Directory for everything that is kept. Default: var.")]


def _log(level: str, *, rich: bool = False) -> None:
    if rich:
        handler: logging.Handler = RichHandler(
            console=console, show_path=False, show_level=False, omit_repeated_times=False
        )
        logging.basicConfig(level=level, format="%(message)s", handlers=[handler])
    else:
        logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    # They log every request at INFO.
    logging.getLogger("httpx").setLevel(logging.WARNING)


@app.command()
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
        str, typer.Option(help="Where a Label Studio of your own reaches the backend. Default: this machine.")
    ] = "",
    data_dir: DataDir = None,
) -> None:
    """Starts a working flywheel, and stops it on Ctrl-C."""
    from launcher.stack import Options, Stack, StopAsked, stop_signals

    _log("INFO", rich=True)
    settings = read_settings(port=port, data_dir=data_dir)
    wanted = tuple(label.strip() for label in labels.split(",") if label.strip())
    options = Options(
        studio_port=studio_port, redis_port=redis_port, studio_venv=studio_venv, images=images, labels=wanted,
        figures=figures, backend_url=backend_url,
    )  # fmt: skip
    stack = Stack(settings, options)
    try:
        with stop_signals(), stack.running() as ready:
            console.print()
            console.print(f"[bold]Label Studio:[/] {ready.url}/projects/{ready.project_id}/data")
            if ready.password:
                console.print(f"[bold]Login:[/] {ready.email}   [bold]Password:[/] {ready.password}", highlight=False)
            console.print(f"[bold]Backend:[/] {ready.backend_url} (its state: /status)")
            console.print("1. Open a task: what the model found is there already. Correct it and submit.")
            console.print(
                "2. Switch on Auto-Annotation, take the smart point, press a label's number, click a garment."
            )
            console.print(f"3. After {settings.retrain_after} submitted images the model is trained again by itself.")
            console.print("Ctrl-C stops everything; nothing is lost.")
            stack.wait()
    except StopAsked:
        console.print("Stopped.")


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Runs the backend alone."""
    import uvicorn

    from backend.app import create_app

    settings = read_settings(host=host, port=port, data_dir=data_dir)
    _log(settings.log_level)
    uvicorn.run(
        create_app(settings), host=settings.host, port=settings.port, log_config=None, access_log=False,
        timeout_graceful_shutdown=GRACE_S,
    )  # fmt: skip


@app.command()
def worker(
    queue: Annotated[list[str] | None, typer.Option(help="Queue to work on; may be given again. Default: all.")] = None,
) -> None:
    """Works on queued jobs: pre-annotation, counts of new labels, trainings."""
    from threadpoolctl import threadpool_limits

    from backend.queues import QUEUES, TRAIN, Queues
    from launcher.worker import GarmentWorker, ResidentWorker, put_back_lost_jobs

    settings = read_settings()
    _log(settings.log_level)
    # Imported before the work-horses fork, so that they start in no time; nothing here touches CUDA.
    for module in ("backend.prelabel", "backend.embed", "training.jobs", "ultralytics.models.yolo"):
        importlib.import_module(module)
    names, connection = queue or list(QUEUES), Queues(settings).redis
    put_back_lost_jobs(connection, names)
    # A training is ended by ending its process; all else goes faster in one that keeps its models.
    kind = GarmentWorker if TRAIN in names else ResidentWorker
    # numpy's products are small here: its threads would only spin, and take the models' cores.
    with threadpool_limits(limits=1, user_api="blas"):
        kind(names, connection=connection).work(logging_level=settings.log_level)


@app.command()
def connect(
    project: Annotated[int, typer.Option(help="Number of the project in Label Studio.")],
    url: Annotated[str, typer.Option(help="Where Label Studio reaches the backend. Default: this machine.")] = "",
) -> None:
    """Connects the backend, and its webhook, to a project of a Label Studio that exists."""
    from backend.labelstudio import LabelStudio
    from backend.queues import Queues
    from label_studio_config.provision import Backend, connect_backend

    settings = kept_settings()
    _log("INFO", rich=True)
    label_studio = LabelStudio(settings)
    backend = Backend(
        url=url or f"http://127.0.0.1:{settings.port}", user=settings.basic_auth_user,
        password=settings.basic_auth_pass, webhook_secret=settings.webhook_secret,
    )  # fmt: skip
    connect_backend(label_studio, project_id=project, backend=backend)
    Queues(settings).enqueue_plan(project)


@app.command()
def prelabel(
    project: Annotated[int, typer.Option(help="Number of the project in Label Studio.")],
    tasks: Annotated[str, typer.Option(help="Numbers of tasks, separated by commas. Default: all that wait.")] = "",
    wait: Annotated[
        bool, typer.Option(help="Show the progress until it is done; Ctrl-C leaves the jobs running.")
    ] = True,
) -> None:
    """Pre-annotates a project's tasks that nobody has annotated and its model has not predicted; may be run again."""
    from backend.job_state import progress_of
    from backend.labelstudio import LabelStudio
    from backend.prelabel_marks import PrelabelMarks
    from backend.queues import Queues
    from backend.registry import Registry
    from launcher.progress import show_progress

    settings = kept_settings()
    queues, champion = Queues(settings), Registry(settings.models_path).champion(project)
    if champion is None and not settings.may_read_words:
        raise LauncherError(f"Project {project} has no model yet. Approve some annotations, then `drape train`.")
    version = champion.name if champion else ""
    PrelabelMarks(queues.redis).forgive(project, version)
    chosen = _numbers(tasks) or LabelStudio(settings).waiting_task_ids(project, version=version)
    jobs = queues.enqueue_prelabel(project, chosen, version=version)
    if not wait:
        console.print(f"{len(chosen)} images are queued in {len(jobs)} jobs.")
        return
    ended = show_progress(
        lambda: progress_of(queues.redis, jobs), total=len(chosen), what="Pre-annotating", console=console
    )
    console.print(f"{ended.done} images are pre-annotated, {ended.failed} could not be (see /status).")
    _say_reasons(ended.reasons)


@app.command()
def withdraw(
    project: Annotated[int, typer.Option(help="Number of the project in Label Studio.")],
    version: Annotated[str, typer.Option(help="The model version that accepted them.")],
) -> None:
    """Deletes the annotations that a model version had accepted without a person; what a person touched stays."""
    from rich.progress import track

    from backend.labelstudio import LabelStudio
    from backend.withdrawal import withdraw as withdraw_accepted

    deleted = withdraw_accepted(
        LabelStudio(kept_settings()), project_id=project, version=version,
        tracked=lambda accepted: track(accepted, "Withdrawing", console=console),
    )  # fmt: skip
    console.print(f"{deleted} annotations of {version} are withdrawn; their predictions wait for review.")


def _numbers(text: str) -> list[int]:
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdigit() for part in parts):
        raise LauncherError(f"--tasks takes numbers, separated by commas; '{text}' is none.")
    return [int(part) for part in parts]


def _say_reasons(reasons: Sequence[str]) -> None:
    """Why jobs failed as a whole, each reason once; ends the command where there are any."""
    for reason in dict.fromkeys(reasons):
        console.print(f"A job failed: {reason}", style="red", markup=False)
    if reasons:
        raise typer.Exit(1)


@app.command()
def embed(
    project: Annotated[int, typer.Option(help="Number of the project in Label Studio.")],
    wait: Annotated[
        bool, typer.Option(help="Show the progress until it is done; Ctrl-C leaves the jobs running.")
    ] = True,
) -> None:
    """Encodes every image of a project ahead, for SAM; may be run again, what is encoded is passed over."""
    from backend.job_state import progress_of
    from backend.labelstudio import LabelStudio
    from backend.queues import Queues
    from launcher.progress import show_progress

    settings = kept_settings()
    queues, task_ids = Queues(settings), LabelStudio(settings).task_ids(project)
    jobs = queues.enqueue_embed(project, task_ids)
    if not wait:
        console.print(f"{len(task_ids)} images are queued in {len(jobs)} jobs.")
        return
    ended = show_progress(
        lambda: progress_of(queues.redis, jobs), total=len(task_ids), what="Encoding", console=console
    )
    console.print(f"{ended.done} images are encoded, {ended.failed} could not be read (see /status).")
    _say_reasons(ended.reasons)


@app.command()
def train(project: Annotated[int, typer.Option(help="Number of the project in Label Studio.")]) -> None:
    """Queues a training of the project's model on all approved labels."""
    from backend.queues import Queues

    queued = Queues(kept_settings()).enqueue_training(project, reason="drape train")
    console.print(f"Training of project {project} is queued." if queued else "A training waits or runs already.")


def main() -> None:
    """Runs the command; a failure that we know is one line, not a traceback."""
    try:
        app()
    except (LauncherError, DrapeError) as e:
        Console(stderr=True).print(str(e), style="red", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(1) from e


if __name__ == "__main__":
    main()
