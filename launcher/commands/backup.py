"""`drape backup` and `drape restore`: everything that Drape and Label Studio store, in one file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated

import rich.progress
import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from backend.registry.registry import Registry
from launcher.commands.options import STUDIO_VENV, DataDir, StudioVenv
from launcher.commands.terminal import Terminal
from launcher.errors import LauncherError
from launcher.stack.saved_settings import read_settings

if TYPE_CHECKING:
    from launcher.backup.archive import BackupManifest
    from launcher.backup.sources import BackupSources

console = Terminal()

WithStudio = Annotated[
    bool, typer.Option(" /--no-label-studio", show_default=False, help="Leave out Label Studio's database and uploads.")
]


def back_up_all(
    file: Annotated[
        Path | None,
        typer.Argument(help="File to write, or a folder. Default: the current folder, with a name from the time."),
    ] = None,
    with_studio: WithStudio = True,
    studio_venv: StudioVenv = STUDIO_VENV,
    data_dir: DataDir = None,
) -> None:
    """Writes Label Studio's database and uploads, the models and the queues into one file, while everything runs.

    The file holds tokens and password hashes, and only its owner can read it. It does not hold photographs that were
    not uploaded, nor secrets in .env or other files.
    """
    # Imported here because it takes a second, which every command would otherwise spend.
    from launcher.backup.back_up import back_up
    from launcher.backup.sources import sources_of

    sources = sources_of(read_settings(data_dir=data_dir), with_studio=with_studio, studio_venv=studio_venv)
    target = file or Path()
    if target.is_dir():
        target /= f"drape-{datetime.now(timezone.utc):%Y-%m-%dT%H%M%SZ}.tar.gz"
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        task = progress.add_task("Backing up", total=None)
        manifest = back_up(
            sources,
            target,
            on_total=lambda total: progress.update(task, total=total),
            on_progress=lambda size: progress.advance(task, size),
        )
    console.print(f"{target} ({target.stat().st_size / 1e6:.1f} MB): {_summary(manifest)}.", highlight=False)


def restore_all(
    file: Annotated[Path, typer.Argument(help="A backup that `drape backup` wrote.")],
    force: Annotated[bool, typer.Option("--force", help="Replace existing data.")] = False,
    with_studio: WithStudio = True,
    studio_venv: StudioVenv = STUDIO_VENV,
    data_dir: DataDir = None,
) -> None:
    """Restores a backup after checking all of it; Drape and Label Studio must be stopped.

    Restore only backups that you made yourself: their jobs and weights let their author run programs here.
    """
    from launcher.backup.restore import restore
    from launcher.backup.sources import sources_of

    sources = sources_of(read_settings(data_dir=data_dir), with_studio=with_studio, studio_venv=studio_venv)

    @contextmanager
    def open_archive(title: str) -> Iterator[IO[bytes]]:
        with rich.progress.open(file, "rb", description=title, console=console) as reader:
            yield reader

    if not file.is_file():
        raise LauncherError(f"There is no file {file}.")
    restored = restore(sources, str(file), open_archive, force=force)
    manifest = restored.manifest
    console.print(f"The backup of {manifest.made_at} is restored: {_summary(manifest)}.", highlight=False)
    console.print(
        f"{restored.versions} model versions are complete, {restored.jobs} jobs are waiting.", highlight=False
    )
    for sentence in _next_steps(sources):
        console.print(sentence, highlight=False, soft_wrap=True)


def _summary(manifest: BackupManifest) -> str:
    return ", ".join(
        f"{part.name} {part.size_bytes / 1e6:.1f} MB" + (f" in {part.files} files" if part.files > 1 else "")
        for part in manifest.parts
    )


def _next_steps(sources: BackupSources) -> Iterator[str]:
    if sources.own_studio and sources.own_redis:
        yield "Start it again with `make up`."
    else:
        yield "Start Label Studio, the backend, the workers and the timer again."
    project_ids = " ".join(map(str, Registry.of(sources.settings).project_ids()))
    if project_ids:
        yield (
            "If this is another machine, or has other secrets, run `drape connect --project N` for each project "
            f"({project_ids}). Then run `drape doctor`."
        )
