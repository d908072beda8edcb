"""The `drape` commands for one project (connect, pre-annotate, encode, train, evaluate), and the list of palettes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rq.utils import now

from label_studio_config.palette_xml import Style
from launcher.commands import models
from launcher.commands.data import have_counted
from launcher.commands.options import Mapping, Project, Wait, label_config_for, split_list
from launcher.commands.run import console, start_logs
from launcher.errors import LauncherError
from launcher.stack.saved_settings import saved_settings

STUDENTS = "yolo11n,yolo11s,yolov8s,mask-rcnn,segformer-b2,unet-mobilenetv2"
DEFAULT_MINUTES = 60.0

if TYPE_CHECKING:
    from backend.queues.backlog import Backlog, Progress


def palettes() -> None:
    """Lists the label palettes that come with Drape, for `drape connect --palette`."""
    from rich.table import Table

    from label_studio_config.palettes import PALETTES

    table = Table("palette", "labels")
    for name, labels in PALETTES.items():
        table.add_row(name, ", ".join(label.value for label in labels))
    console.print(table)


def connect(
    project: Project,
    url: Annotated[
        str, typer.Option(help="Address at which Label Studio reaches the backend. Default: BACKEND_URL.")
    ] = "",
    palette: Annotated[str, typer.Option(help="Use this palette in the project; `drape palettes` lists them.")] = "",
    labels: Annotated[str, typer.Option(help="Use a palette of these labels, separated by commas.")] = "",
    style: Annotated[
        Style | None,
        typer.Option(
            help="With --palette or --labels: one list of labels for all tools (`palette`, the default), or one for "
            "boxes and one for polygons (`lists`), without clicks, which Label Studio itself exports to COCO and YOLO."
        ),
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Use the label config in this XML file.")] = None,
) -> None:
    """Connects the backend and its webhook to a project in an existing Label Studio."""
    from backend.label_studio.client import LabelStudio
    from backend.queues.queues import Queues
    from label_studio_config.provision import Backend, connect_backend, set_label_config

    settings = saved_settings()
    start_logs("INFO", rich=True)
    label_studio = LabelStudio(settings)
    label_config = label_config_for(palette=palette, labels=labels, config=config, style=style)
    if label_config is not None:
        set_label_config(label_studio, project_id=project, label_config=label_config)
    backend = Backend(
        url=url or settings.backend_address,
        user=settings.basic_auth_user,
        password=settings.basic_auth_pass,
        webhook_secret=settings.webhook_secret,
    )
    connect_backend(label_studio, project_id=project, backend=backend)
    queues = Queues(settings)
    queues.enqueue_plan(project)
    queues.enqueue_check(project)
    console.print(
        f"Export its labels with `drape export --project {project}`: Label Studio's own COCO and YOLO downloads hold "
        "no annotations of a palette (`<Labels>`) with separate tools.",
        markup=False,
        highlight=False,
    )


def prelabel(
    project: Project,
    tasks: Annotated[
        str, typer.Option(help="Task ids, separated by commas. Default: all tasks that need a prediction.")
    ] = "",
    version: Annotated[
        str, typer.Option(help="Version to compare with, such as `v3`; Label Studio still shows the current version.")
    ] = "",
    wait: Wait = True,
) -> None:
    """Pre-annotates the tasks that nobody has annotated and the model has not predicted; can run again."""
    from backend.label_studio.client import LabelStudio
    from backend.prelabel.task_marks import TaskMarks
    from backend.queues.queues import Queues
    from backend.registry.registry import Registry

    settings = saved_settings()
    queues, registry = Queues(settings), Registry.of(settings)
    model = models.find_version(registry, project, version) if version else registry.champion(project)
    if model is None and not settings.may_read_words:
        raise LauncherError(f"Project {project} has no model yet. Approve some annotations, then run `drape train`.")
    name = model.name if model else ""
    TaskMarks(queues.redis).forgive(project, name)
    task_ids = _task_ids(tasks) or LabelStudio(settings).waiting_task_ids(project, version=name)
    backlog = queues.prelabelling(project, version=name, asked=bool(version))
    progress = _queue_tasks(backlog, task_ids, wait=wait, title="Pre-annotating")
    if progress is not None:
        console.print(f"{progress.done} images are pre-annotated, {progress.failed} failed (see /status).")
        _show_failures(progress.reasons)


def withdraw(
    project: Project,
    version: Annotated[str, typer.Option(help="The model version that accepted the annotations.")],
) -> None:
    """Deletes the annotations that a model version accepted without a person; keeps those that a person changed."""
    from backend.auto_accept.withdraw import withdraw as withdraw_accepted
    from backend.label_studio.client import LabelStudio
    from launcher.commands.progress_bar import bars

    settings = saved_settings()
    try:
        with bars(console) as shown:
            deleted = withdraw_accepted(
                LabelStudio(settings),
                project_id=project,
                version=version,
                tracked=lambda accepted: shown.track(accepted, "Withdrawing"),
            )
    finally:
        have_counted(settings, project)
    console.print(f"{deleted} annotations of {version} are withdrawn. Their predictions can be reviewed again.")


def _task_ids(text: str) -> list[int]:
    numbers = split_list(text)
    if not all(number.isdigit() for number in numbers):
        raise LauncherError(f"--tasks needs numbers, separated by commas, not '{text}'.")
    return list(map(int, numbers))


def _queue_tasks(backlog: Backlog, task_ids: Sequence[int], *, wait: bool, title: str) -> Progress | None:
    """Queues the tasks; with `wait`, shows a progress bar until they are done, and returns the last progress."""
    from launcher.commands.progress_bar import show_progress

    backlog.begin_counts()
    begun_at = now()
    backlog.add(task_ids)
    if wait:
        return show_progress(
            lambda: backlog.progress(since=begun_at), total=len(task_ids), title=title, console=console
        )
    console.print(f"{len(task_ids)} images are queued.")
    return None


def _show_failures(reasons: Sequence[str]) -> None:
    """Prints each reason why jobs failed as a whole, once; exits with status 1 if there is any."""
    for reason in dict.fromkeys(reasons):
        console.print(f"A job failed: {reason}", style="red", markup=False)
    if reasons:
        raise typer.Exit(1)


def embed(project: Project, wait: Wait = True) -> None:
    """Encodes every image of a project for SAM in advance; can run again, and skips images that are encoded."""
    from backend.label_studio.client import LabelStudio
    from backend.queues.queues import Queues

    settings = saved_settings()
    task_ids = LabelStudio(settings).task_ids(project)
    progress = _queue_tasks(Queues(settings).encoding(project), task_ids, wait=wait, title="Encoding")
    if progress is not None:
        console.print(f"{progress.done} images are encoded, {progress.failed} could not be read (see /status).")
        _show_failures(progress.reasons)


def evaluate(
    project: Project,
    model: Annotated[
        str, typer.Option(help="A version (`v3`) or the path of a .pt file. Default: the current model.")
    ] = "",
    on: Annotated[
        str,
        typer.Option(
            metavar="split|approved|PATH",
            help="The held-out images, all approved images, or a data set in any format that `drape import` reads.",
        ),
    ] = "split",
    images: Annotated[Path | None, typer.Option(help="Folder of the data set's images, if elsewhere.")] = None,
    mapping: Mapping = None,
) -> None:
    """Evaluates any weights on approved images, and prints the metrics that trained models are evaluated by."""
    from backend.connections import Connections
    from backend.registry.scores import Compared
    from launcher.commands.models import find_model
    from launcher.commands.score_table import show_scores
    from training.evaluate import ExternalSet, ImageChoice, evaluate_model

    connections = Connections.of(saved_settings().for_project(project))
    images_of: dict[str, ImageChoice] = {"split": "split", "approved": "approved"}
    source = images_of.get(on) or ExternalSet(on, images, mapping)
    scores = evaluate_model(connections, project, find_model(connections.registry, project, model), source=source)
    show_scores(Compared(scores, None), console)


def compare(
    project: Project,
    students: Annotated[
        str, typer.Option(help="The students, separated by commas, in the order in which they are trained.")
    ] = STUDENTS,
    minutes: Annotated[
        float | None, typer.Option(min=0.01, help="Minutes of training for each. Default: 60, without --epochs.")
    ] = None,
    epochs: Annotated[int | None, typer.Option(min=1, help="Epochs of each, in place of minutes.")] = None,
    side: Annotated[
        int, typer.Option(min=0, help="The images' longer side in pixels. 0: as the project's trainings.")
    ] = 0,
    download: Annotated[
        bool, typer.Option(help="Get pretrained weights that are not in DATA_DIR/pretrained from the internet.")
    ] = True,
    afresh: Annotated[
        bool, typer.Option(help="Delete an earlier comparison, and count what is approved anew, instead of going on.")
    ] = False,
    cancel: Annotated[bool, typer.Option(help="End the project's comparison instead; what is judged stays.")] = False,
    wait: Wait = True,
) -> None:
    """Trains several architectures on the project's approved images, and judges them on the same held-out ones.

    Each has the same budget and a job of its own. Called again, it goes on where it was. One that fails, for example as
    its library is not installed, does not hold back the others; the command then ends with status 1.
    """
    from backend.queues.comparisons import Comparisons
    from backend.queues.queues import Queues
    from launcher.commands.progress_bar import show_students
    from launcher.commands.score_table import show_students_scores
    from training.students.project import Options, comparison_folder, timeout_s
    from training.students.roster import check_names

    settings = saved_settings().for_project(project)
    names = check_names(split_list(students))
    jobs = Comparisons(Queues(settings).redis, project)
    if cancel:
        cancelled = jobs.cancel()
        console.print(f"Cancelled: {', '.join(cancelled)}." if cancelled else "No comparison is queued or running.")
        return
    if minutes and epochs:
        raise LauncherError("Give only one of --minutes and --epochs.")
    budget = minutes if minutes or epochs else DEFAULT_MINUTES
    options = Options(budget, epochs, side, download, str(now()) if afresh else "")
    jobs.enqueue(names, vars(options), timeout_s=timeout_s(options, settings))
    if not wait:
        console.print(f"{len(names)} students are queued.")
        return
    failed = show_students(lambda: jobs.state(names), names, console)
    judged = show_students_scores(comparison_folder(settings, project), console)
    missing = {name: "it was not judged, and has no job any more." for name in names if name not in judged}
    for name, reason in {**missing, **failed}.items():
        console.print(f"{name}: {reason}", style="red", markup=False, highlight=False)
    if failed or missing:
        raise typer.Exit(1)


def train(
    project: Project,
    cancel: Annotated[
        bool, typer.Option(help="Cancel the queued or running training instead; the model does not change.")
    ] = False,
) -> None:
    """Queues a training of the project's model on all approved labels."""
    from backend.queues.queues import Queues

    queues = Queues(saved_settings())
    if cancel:
        cancelled = queues.cancel_training(project)
        console.print(
            f"The training of project {project} is cancelled." if cancelled else "No training is queued or running."
        )
        return
    queued = queues.enqueue_training(project, reason="drape train")
    console.print(f"Training of project {project} is queued." if queued else "A training is queued or running already.")
