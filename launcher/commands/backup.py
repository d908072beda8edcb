"""`drape backup` and `drape restore`: everything that Drape and Label Studio store, in one file."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timezone
from pathlib import Path
from typing import IO, Annotated

import rich.progress
import typer
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from launcher.backup.archive import BackupManifest
from launcher.backup.sources import BackupSources, sources_of
from launcher.commands.terminal import Terminal
from launcher.errors import LauncherError
from launcher.stack.saved_settings import read_settings

console = Terminal()

DataDir = Annotated[Path | None, typer.Option(help="Directory for everything that is kept. Default: var.")]
StudioVenv = Annotated[Path, typer.Option(help="Environment that Label Studio is installed in.")]
WithStudio = Annotated[
    bool, typer.Option(" /--no-label-studio", help="Leave Label Studio's database and uploads to those who run it.")
]
VENV = Path(".venv-label-studio")


def back_up_all(
    file: Annotated[
        Path | None, typer.Argument(help="Where it is written: a name, or a folder. Default: here, named by the time.")
    ] = None,
    with_studio: WithStudio = True,
    studio_venv: StudioVenv = VENV,
    data_dir: DataDir = None,
) -> None:
    """Writes Label Studio's database and uploads, the models and the queues into one file, while everything runs.

    The file holds tokens and password hashes, and only its owner can read it. It does not hold photographs that were
    not uploaded, nor secrets in .env or other files.
    """
    from launcher.backup.back_up import back_up

    sources = _sources(data_dir, with_studio=with_studio, studio_venv=studio_venv)
    target = file or Path()
    if target.is_dir():
        target /= f"drape-{datetime.now(timezone.utc):%Y-%m-%dT%H%M%SZ}.tar.gz"
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as bar:
        shown = bar.add_task("Keeping", total=None)
        manifest = back_up(
            sources,
            target,
            expected=lambda total: bar.update(shown, total=total),
            told=lambda size: bar.advance(shown, size),
        )
    console.print(f"{target} ({target.stat().st_size / 1e6:.1f} MB): {_said(manifest)}.", highlight=False)


def restore_all(
    file: Annotated[Path, typer.Argument(help="What `drape backup` wrote.")],
    force: Annotated[bool, typer.Option("--force", help="Put it in the place of what is there.")] = False,
    with_studio: WithStudio = True,
    studio_venv: StudioVenv = VENV,
    data_dir: DataDir = None,
) -> None:
    """Restores a backup after checking all of it; Drape and Label Studio must be stopped.

    Restore only backups that you made yourself: their jobs and weights let their author run programs here.
    """
    from launcher.backup.restore import restore

    sources = _sources(data_dir, with_studio=with_studio, studio_venv=studio_venv)

    @contextmanager
    def opened(title: str) -> Iterator[IO[bytes]]:
        with rich.progress.open(file, "rb", description=title, console=console) as reader:
            yield reader

    if not file.is_file():
        raise LauncherError(f"There is no file {file}.")
    done = restore(sources, str(file), opened, force=force)
    console.print(f"Restored, of {done.manifest.made_at}: {_said(done.manifest)}.", highlight=False)
    console.print(f"{done.versions} model versions are whole; {done.jobs} jobs wait.", highlight=False)
    for sentence in _next(sources):
        console.print(sentence, highlight=False, soft_wrap=True)


def _sources(data_dir: Path | None, *, with_studio: bool, studio_venv: Path) -> BackupSources:
    return sources_of(read_settings(data_dir=data_dir), with_studio=with_studio, studio_venv=studio_venv)


def _said(manifest: BackupManifest) -> str:
    return ", ".join(
        f"{part.name} {part.size_bytes / 1e6:.1f} MB" + (f" in {part.files} files" if part.files > 1 else "")
        for part in manifest.parts
    )


def _next(sources: BackupSources) -> Iterator[str]:
    if sources.own_studio and sources.own_redis:
        yield "Start it again with `make up`."
    else:
        yield "Start Label Studio, the backend, the workers and the timer again."
    projects = " ".join(str(number) for number in sources.registry.project_ids())
    if projects:
        yield (
            "On another machine than it was made on, or with other secrets: `drape connect --project N` for each "
            f"project ({projects}). Then `drape doctor` says whether all is well."
        )
