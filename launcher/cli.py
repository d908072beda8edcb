"""The `drape` command."""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import typer
from rich.logging import RichHandler
from rich.markup import escape

from backend.errors import DrapeError
from backend.telemetry.logs import LogFormat, handler_of
from launcher.commands import backup, data, models
from launcher.commands.label_config import label_config_for
from launcher.commands.terminal import Terminal
from launcher.errors import LauncherError
from launcher.stack.saved_settings import complete, kept_settings, read_settings

app = typer.Typer(no_args_is_help=True, add_completion=False, help="An annotation flywheel for Label Studio.")
app.add_typer(models.app, name="models")
app.command(name="import")(data.import_garments)
app.command(name="backup")(backup.back_up_all)
app.command(name="restore")(backup.restore_all)
console = Terminal()
# They log every request; those of S3, at DEBUG, with its headers, where a session's token stands.
TALKATIVE = ("httpx", "botocore", "aiobotocore", "s3fs")

# A request that is being answered may take this long to end when the backend is stopped.
GRACE_S = 3
# A tenth of Python's own.
SWITCH_S = 0.0005

DataDir = Annotated[Path | None, typer.Option(help="Directory for everything that is kept. Default: var.")]


def _log(level: str, *, log_format: LogFormat = "text", rich: bool = False) -> None:
    if rich:
        handler: logging.Handler = RichHandler(
            console=console, show_path=False, show_level=False, omit_repeated_times=False
        )
        logging.basicConfig(level=level, format="%(message)s", handlers=[handler])
    else:
        logging.basicConfig(level=level, handlers=[handler_of(log_format)])
        # Python's own warnings are records too, not lines between them.
        logging.captureWarnings(True)
    for name in TALKATIVE:
        logging.getLogger(name).setLevel(logging.WARNING)


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
    from launcher.stack.stack import Options, Stack, StopAsked, stop_signals

    _log("INFO", rich=True)
    settings = read_settings(port=port, data_dir=data_dir)
    settings.check_projects()
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


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Runs the backend alone."""
    import uvicorn

    from backend.app import create_app
    from backend.compute.malloc import share_heaps

    settings = read_settings(host=host, port=port, data_dir=data_dir)
    settings.check_projects()
    _log(settings.log_level, log_format=settings.log_format)
    # A webhook asks for Python's one lock a dozen times, each time behind the threads that compute.
    sys.setswitchinterval(SWITCH_S)
    # Each click has a thread of its own.
    share_heaps()
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

    from backend.queues.queues import QUEUES, TRAIN, Queues
    from backend.queues.worker import GarmentWorker, ResidentWorker, put_back_lost_jobs
    from launcher.stack.priority import TRAINING, WORKER, give_way

    settings = read_settings()
    settings.check_projects()
    _log(settings.log_level, log_format=settings.log_format)
    # Imported before the work-horses fork, so that they start in no time; nothing here touches CUDA.
    for module in ("backend.prelabel.jobs", "backend.prelabel.embed", "training.jobs", "ultralytics.models.yolo"):
        importlib.import_module(module)
    names, connection = queue or list(QUEUES), Queues(settings).redis
    put_back_lost_jobs(connection, names)
    give_way(TRAINING if TRAIN in names else WORKER)
    # A training is ended by ending its process; all else goes faster in one that keeps its models.
    kind = GarmentWorker if TRAIN in names else ResidentWorker
    # numpy's products are small here: its threads would only spin, and take the models' cores.
    with threadpool_limits(limits=1, user_api="blas"):
        kind(names, connection=connection).work(logging_level=settings.log_level)


@app.command()
def timer() -> None:
    """Looks after every project from time to time (CHECK_EVERY_S): what a lost event would have told is found."""
    from backend.queues.queues import Queues
    from backend.queues.timer import timer as make_timer

    settings = kept_settings()
    _log(settings.log_level, log_format=settings.log_format)
    make_timer(Queues(settings).redis, every_s=settings.check_every_s).start()


@app.command(hidden=True)
def healthy(what: Annotated[Literal["backend", "worker"], typer.Argument(help="What runs in this container.")]) -> None:
    """Ends with 1 unless what runs on this machine answers: for containers' health checks."""
    from launcher.stack.health import backend_answers, worker_is_known

    answers = backend_answers if what == "backend" else worker_is_known
    if not answers(kept_settings()):
        raise LauncherError(f"The {what} does not answer.")


@app.command()
def doctor(
    project: Annotated[
        int | None, typer.Option(help="Number of the one project to look at. Default: every connected one.")
    ] = None,
    data_dir: DataDir = None,
) -> None:
    """Looks at Label Studio, Redis, the workers, weights and this machine; says what to do. Changes nothing."""
    from launcher.doctor.examine import examine
    from launcher.doctor.findings import show_findings

    settings = complete(read_settings(data_dir=data_dir))
    # What it finds it says itself; a library's warnings would only stand between.
    _log("DEBUG" if settings.log_level == "DEBUG" else "CRITICAL")
    if not show_findings(examine(settings, project_id=project), console):
        raise typer.Exit(1)


@app.command()
def palettes() -> None:
    """Lists the label palettes that come with Drape, for `drape connect --palette`."""
    from rich.table import Table

    from label_studio_config.palettes import PALETTES

    table = Table("palette", "labels")
    for name, labels in PALETTES.items():
        table.add_row(name, ", ".join(label.value for label in labels))
    console.print(table)


@app.command()
def connect(
    project: Annotated[int, typer.Option(help="Number of the project in Label Studio.")],
    url: Annotated[str, typer.Option(help="Where Label Studio reaches the backend. Default: this machine.")] = "",
    palette: Annotated[str, typer.Option(help="Give the project this palette; `drape palettes` lists them.")] = "",
    labels: Annotated[str, typer.Option(help="Give it a palette of these labels, separated by commas.")] = "",
    config: Annotated[Path | None, typer.Option(help="Give it the label config of this XML file.")] = None,
) -> None:
    """Connects the backend, and its webhook, to a project of a Label Studio that exists."""
    from backend.label_studio.client import LabelStudio
    from backend.queues.queues import Queues
    from label_studio_config.provision import Backend, connect_backend, set_label_config

    settings = kept_settings()
    _log("INFO", rich=True)
    label_studio = LabelStudio(settings)
    chosen = label_config_for(palette=palette, labels=labels, config=config)
    if chosen is not None:
        set_label_config(label_studio, project_id=project, label_config=chosen)
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
    version: Annotated[
        str, typer.Option(help="A version, as `v3`, to compare with: Label Studio goes on showing the current one's.")
    ] = "",
    wait: Annotated[
        bool, typer.Option(help="Show the progress until it is done; Ctrl-C leaves the jobs running.")
    ] = True,
) -> None:
    """Pre-annotates a project's tasks that nobody has annotated and its model has not predicted; may be run again."""
    from backend.label_studio.client import LabelStudio
    from backend.prelabel.task_marks import PrelabelMarks
    from backend.queues.job_progress import progress_of
    from backend.queues.queues import Queues
    from backend.registry.registry import Registry
    from launcher.commands.progress_bar import show_progress

    settings = kept_settings()
    queues, registry = Queues(settings), Registry.of(settings)
    model = models.find_version(registry, project, version) if version else registry.champion(project)
    if model is None and not settings.may_read_words:
        raise LauncherError(f"Project {project} has no model yet. Approve some annotations, then `drape train`.")
    name = model.name if model else ""
    PrelabelMarks(queues.redis).forgive(project, name)
    chosen = _numbers(tasks) or LabelStudio(settings).waiting_task_ids(project, version=name)
    jobs = queues.enqueue_prelabel(project, chosen, version=name, asked=bool(version))
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

    from backend.auto_accept.withdraw import withdraw as withdraw_accepted
    from backend.label_studio.client import LabelStudio

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
    from backend.label_studio.client import LabelStudio
    from backend.queues.job_progress import progress_of
    from backend.queues.queues import Queues
    from launcher.commands.progress_bar import show_progress

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


@app.command(name="export")
def export_garments(
    project: Annotated[int, typer.Option(help="Number of the project in Label Studio.")],
    form: Annotated[
        Literal["coco", "coco-polygons", "yolo", "masks", "cutouts"], typer.Option("--format", help="What is written.")
    ],
    into: Annotated[Path, typer.Option(help="A folder that is new or empty.")],
    by: Annotated[
        Literal["person", "model", "both"], typer.Option(help="Approved by a person, accepted without one, or both.")
    ] = "person",
    labels: Annotated[str, typer.Option(help="Labels, separated by commas. Default: all.")] = "",
    min_score: Annotated[float, typer.Option(min=0, max=1, help="Least score of what a model found.")] = 0.0,
    soft: Annotated[bool, typer.Option(help="Cut-outs fade at the edge.")] = True,
) -> None:
    """Writes a project's garments: as COCO, as YOLO with its splits, as index masks, or as cut-outs with a table."""
    from rich.progress import track

    from training.data_out.export_data import Chosen, export_data
    from training.retraining import Parts

    wanted = tuple(label.strip() for label in labels.split(",") if label.strip())
    count = export_data(
        Parts.of(kept_settings().for_project(project)), project, into=into, form=form,
        chosen=Chosen(by, wanted, min_score), soft=soft,
        tracked=lambda approved: track(approved, "Exporting", console=console),
    )  # fmt: skip
    console.print(f"{count} {'cut-outs' if form == 'cutouts' else 'images'} are in {into}.", markup=False)


@app.command()
def evaluate(
    project: Annotated[int, typer.Option(help="Number of the project in Label Studio.")],
    model: Annotated[
        str, typer.Option(help="A version (`v3`) or the path of a .pt file. Default: the current model.")
    ] = "",
    on: Annotated[
        str,
        typer.Option(
            metavar="split|approved|PATH",
            help="The held-out images alone, all approved ones, or a set in any format that `drape import` reads.",
        ),
    ] = "split",
    images: Annotated[Path | None, typer.Option(help="Folder of that set's images, where they lie elsewhere.")] = None,
    mapping: Annotated[Path | None, typer.Option(help="YAML or JSON file, `their class: our label`.")] = None,
) -> None:
    """Scores a model on approved images: the table that trainings are judged by, for any weights."""
    from backend.registry.scores import Compared
    from launcher.commands.models import find_model
    from launcher.commands.score_table import show_scores
    from training.evaluate import OtherSet, Which, examine
    from training.retraining import Parts

    parts = Parts.of(kept_settings().for_project(project))
    known: dict[str, Which] = {"split": "split", "approved": "approved"}
    where = known.get(on) or OtherSet(on, images, mapping)
    scores = examine(parts, project, find_model(parts.registry, project, model), on=where)
    show_scores(Compared(scores, None), console)


@app.command()
def train(
    project: Annotated[int, typer.Option(help="Number of the project in Label Studio.")],
    cancel: Annotated[bool, typer.Option(help="End the one that waits or runs instead; the model stays as it is.")] = (
        False
    ),
) -> None:
    """Queues a training of the project's model on all approved labels."""
    from backend.queues.queues import Queues

    queues = Queues(kept_settings())
    if cancel:
        ended = queues.cancel_training(project)
        console.print(f"The training of project {project} is ended." if ended else "No training waits or runs.")
        return
    queued = queues.enqueue_training(project, reason="drape train")
    console.print(f"Training of project {project} is queued." if queued else "A training waits or runs already.")


def main() -> None:
    """Runs the command; a failure that we know is one line, not a traceback."""
    try:
        app()
    except (LauncherError, DrapeError) as e:
        Terminal(stderr=True).print(str(e), style="red", markup=False, highlight=False, soft_wrap=True)
        raise SystemExit(1) from e


if __name__ == "__main__":
    main()
