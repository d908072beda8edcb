"""The `drape` commands for one project (connect, pre-annotate, encode, train, evaluate), and the list of palettes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from launcher.commands import models
from launcher.commands.label_config import label_config_for
from launcher.commands.run import console, start_logs
from launcher.errors import LauncherError
from launcher.stack.saved_settings import kept_settings


def palettes() -> None:
    """Lists the label palettes that come with Drape, for `drape connect --palette`."""
    from rich.table import Table

    from label_studio_config.palettes import PALETTES

    table = Table("palette", "labels")
    for name, labels in PALETTES.items():
        table.add_row(name, ", ".join(label.value for label in labels))
    console.print(table)


def connect(
    project: Annotated[int, typer.Option(help="Number of the project in Label Studio.")],
    url: Annotated[str, typer.Option(help="Where Label Studio reaches the backend. Default: BACKEND_URL.")] = "",
    palette: Annotated[str, typer.Option(help="Give the project this palette; `drape palettes` lists them.")] = "",
    labels: Annotated[str, typer.Option(help="Give it a palette of these labels, separated by commas.")] = "",
    config: Annotated[Path | None, typer.Option(help="Give it the label config of this XML file.")] = None,
) -> None:
    """Connects the backend and its webhook to a project in an existing Label Studio."""
    from backend.label_studio.client import LabelStudio
    from backend.queues.queues import Queues
    from label_studio_config.provision import Backend, connect_backend, set_label_config

    settings = kept_settings()
    start_logs("INFO", rich=True)
    label_studio = LabelStudio(settings)
    chosen = label_config_for(palette=palette, labels=labels, config=config)
    if chosen is not None:
        set_label_config(label_studio, project_id=project, label_config=chosen)
    backend = Backend(
        url=url or settings.backend_address,
        user=settings.basic_auth_user,
        password=settings.basic_auth_pass,
        webhook_secret=settings.webhook_secret,
    )
    connect_backend(label_studio, project_id=project, backend=backend)
    Queues(settings).enqueue_plan(project)


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
    """Pre-annotates the tasks that nobody has annotated and the model has not predicted; can run again."""
    from backend.label_studio.client import LabelStudio
    from backend.prelabel.task_marks import TaskMarks
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
    TaskMarks(queues.redis).forgive(project, name)
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


def withdraw(
    project: Annotated[int, typer.Option(help="Number of the project in Label Studio.")],
    version: Annotated[str, typer.Option(help="The model version that accepted them.")],
) -> None:
    """Deletes the annotations that a model version had accepted without a person; those that a person touched stay."""
    from rich.progress import track

    from backend.auto_accept.withdraw import withdraw as withdraw_accepted
    from backend.label_studio.client import LabelStudio

    deleted = withdraw_accepted(
        LabelStudio(kept_settings()),
        project_id=project,
        version=version,
        tracked=lambda accepted: track(accepted, "Withdrawing", console=console),
    )
    console.print(f"{deleted} annotations of {version} are withdrawn; their predictions wait for review.")


def _numbers(text: str) -> list[int]:
    connections = [part.strip() for part in text.split(",") if part.strip()]
    if not all(part.isdigit() for part in connections):
        raise LauncherError(f"--tasks takes numbers, separated by commas; '{text}' is none.")
    return [int(part) for part in connections]


def _say_reasons(reasons: Sequence[str]) -> None:
    """Prints each reason why jobs failed as a whole, once; exits with status 1 if there is any."""
    for reason in dict.fromkeys(reasons):
        console.print(f"A job failed: {reason}", style="red", markup=False)
    if reasons:
        raise typer.Exit(1)


def embed(
    project: Annotated[int, typer.Option(help="Number of the project in Label Studio.")],
    wait: Annotated[
        bool, typer.Option(help="Show the progress until it is done; Ctrl-C leaves the jobs running.")
    ] = True,
) -> None:
    """Encodes every image of a project for SAM in advance; can run again, and skips images that are encoded."""
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
    """Evaluates any weights on approved images, and prints the metrics that trained models are evaluated by."""
    from backend.connections import Connections
    from backend.registry.scores import Compared
    from launcher.commands.models import find_model
    from launcher.commands.score_table import show_scores
    from training.evaluate import OtherSet, Which, examine

    connections = Connections.of(kept_settings().for_project(project))
    known: dict[str, Which] = {"split": "split", "approved": "approved"}
    where = known.get(on) or OtherSet(on, images, mapping)
    scores = examine(connections, project, find_model(connections.registry, project, model), on=where)
    show_scores(Compared(scores, None), console)


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
