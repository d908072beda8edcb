"""`drape models`: the versions of a project's model, and which of them is the current one."""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Column, Table

from backend.registry.records import has_report, report_path
from backend.registry.registry import Registry, Version
from backend.registry.scores import read_scores
from backend.registry.verdict import read_verdict
from backend.settings import Settings
from launcher.commands.options import Project
from launcher.commands.score_table import show_scores
from launcher.commands.terminal import Terminal
from launcher.errors import LauncherError
from launcher.stack.saved_settings import saved_settings

app = typer.Typer(no_args_is_help=True, help="A project's model versions, and which of them is the current one.")
console = Terminal()

Name = Annotated[str, typer.Argument(help="Name of the version, as `list` shows it, or its number, such as `v3`.")]


@app.command(name="list")
def show_all(project: Project) -> None:
    """Lists the versions, oldest first."""
    registry = Registry.of(saved_settings())
    champion = registry.champion(project)
    name = Column("version", no_wrap=True)
    table = Table("", name, "created (UTC)", "parent", "labels", "mask mAP50-95", title=f"Models of project {project}")
    for version in registry.versions(project):
        table.add_row(
            "*" if version == champion else "",
            version.name,
            _minute(version),
            version.parent or version.origin,
            str(len(version.annotations)),
            _quality(version),
        )
    if not table.row_count:
        raise LauncherError(f"Project {project} has no model yet.")
    console.print(table)
    console.print("* current version. `drape models show` says why a version was promoted or not.")


@app.command()
def show(project: Project, name: Name) -> None:
    """Shows what a version was trained on, its metrics, and why it was promoted or not."""
    _show(find_version(Registry.of(saved_settings()), project, name))


@app.command()
def add(
    project: Project, student: Annotated[str, typer.Argument(help="The student, as the comparison's page names it.")]
) -> None:
    """Makes a student of `drape compare` a version, and promotes it if it is better than the current model."""
    from backend.connections import Connections
    from training.add_student import add_student

    logging.basicConfig(format="%(message)s")
    version, _ = add_student(Connections.of(saved_settings().for_project(project)), project, student)
    _show(version)


def _show(version: Version) -> None:
    verdict = read_verdict(version)
    source = "a comparison" if version.origin == "comparison" else version.parent or version.origin
    console.print(f"[bold]{version.name}[/], created {_minute(version)} UTC from {source}")
    console.print(f"{len(version.annotations)} annotations, {len(version.classes)} classes, {version.image_size_px} px")
    if has_report(version):
        console.print(f"report: {report_path(version).resolve()}", soft_wrap=True, markup=False, highlight=False)
    if verdict is None:
        console.print("It was never evaluated.")
        return
    result = "Promoted." if verdict.promoted else "Not promoted."
    console.print(f"{result} {verdict.reason}", markup=False, highlight=False)
    if verdict.gain_95 is not None:
        low, high = verdict.gain_95
        console.print(f"95 % interval of the gain: {low:+.3f} to {high:+.3f}", highlight=False)
    compared = read_scores(version)
    if compared is not None:
        show_scores(compared, console)


@app.command()
def promote(project: Project, name: Name) -> None:
    """Makes a version the current model, and has it pre-annotate every image that nobody has annotated."""
    settings = saved_settings()
    _promote(settings, project, find_version(Registry.of(settings), project, name))


@app.command()
def rollback(project: Project) -> None:
    """Promotes the version that was current when the current one was made."""
    settings = saved_settings()
    _promote(settings, project, Registry.of(settings).version_before(project))


@app.command()
def prune(
    project: Project, keep: Annotated[int, typer.Option(min=1, help="Number of the newest versions to keep.")] = 5
) -> None:
    """Deletes old versions; keeps the current one, and those before it to the YOLO that is trained next."""
    registry = Registry.of(saved_settings())
    champion, versions = registry.champion(project), registry.versions(project)
    line, base = registry.line_of(champion), registry.newest_yolo(champion)
    # All between, too: the way to the base leads over them.
    needed = line[: max(2, line.index(base) + 1 if base else 0)]
    kept = {version.name for version in [*versions[-keep:], *needed]}
    obsolete = [version for version in versions if version.name not in kept]
    for version in obsolete:
        registry.remove(project, version.name)
        console.print(f"{version.name} is deleted.")
    console.print(f"{len(versions) - len(obsolete)} of {len(versions)} versions remain.")


@app.command()
def export(
    project: Project,
    kind: Annotated[str, typer.Option("--format", help="Ultralytics' name of the format: onnx, openvino, engine, …")],
    name: Annotated[
        str, typer.Argument(help="Name of the version, or its number, such as `v3`. Default: the current version.")
    ] = "",
    to: Annotated[
        Path | None, typer.Option(help="Folder for the export. Default: it is stored with the version.")
    ] = None,
    half: Annotated[bool, typer.Option(help="Compute in half precision.")] = False,
) -> None:
    """Exports a version for real-time use elsewhere, and times it; exits with 1 unless it agrees with PyTorch."""
    from backend.compute.devices import pick_device
    from launcher.commands.export_table import show_export
    from training.model_export.export import example_images, export_version

    settings = saved_settings()
    registry = Registry.of(settings)
    version = find_version(registry, project, name) if name else registry.champion(project)
    if version is None:
        raise LauncherError(f"Project {project} has no model yet.")
    if to is not None and to.exists() and (not to.is_dir() or any(to.iterdir())):
        raise LauncherError(f"{to} exists already, and is not an empty folder.")
    logging.basicConfig(format="%(message)s")
    folder, made = export_version(
        version,
        partial(example_images, settings, version),
        format_name=kind,
        half=half,
        device=pick_device(settings.device),
        to=to,
    )
    if not show_export(folder, made, console=console):
        raise typer.Exit(1)


def _promote(settings: Settings, project: int, version: Version) -> None:
    from backend.connections import promote_and_prelabel
    from backend.queues.queues import Queues

    promote_and_prelabel(Registry.of(settings), Queues(settings), project, version.name)
    console.print(
        f"{version.name} is now the current version of project {project}. It pre-annotates all unannotated images."
    )


def find_version(registry: Registry, project: int, name: str) -> Version:
    """Finds a project's version by its name or its number, such as `v3`.

    Raises:
        LauncherError: the project has no such version; the message names the versions that it has.
    """
    versions = registry.versions(project)
    for version in versions:
        if name in (version.name, f"v{version.number}"):
            return version
    names = ", ".join(version.name for version in versions) or "none"
    raise LauncherError(f"Project {project} has no model version '{name}'. Its versions: {names}.")


def find_model(registry: Registry, project: int, name: str) -> Version | Path:
    """Returns the named version, the path of a named `.pt` file, or the current version if `name` is empty.

    Raises:
        LauncherError: the project has no such version, or no current version.
    """
    if name.endswith(".pt"):
        return Path(name)
    if name:
        return find_version(registry, project, name)
    champion = registry.champion(project)
    if champion is None:
        raise LauncherError(f"Project {project} has no model yet. Give the path of a .pt file with --model.")
    return champion


def _minute(version: Version) -> str:
    return version.created_at[:16].replace("T", " ")


def _quality(version: Version) -> str:
    verdict = read_verdict(version)
    if verdict is not None and verdict.challenger_map is not None:
        return f"{verdict.challenger_map:.3f} on {verdict.images} images"
    return f"{version.metrics['mask_map50_95']:.3f}" if "mask_map50_95" in version.metrics else ""
