"""`drape wardrobe`: a page over a project's garments, which needs no server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from launcher.commands.options import By, Labels, MinScore, Project, SoftEdges, split_list
from launcher.commands.terminal import Terminal
from launcher.stack.saved_settings import saved_settings

console = Terminal()


def wardrobe(
    project: Project,
    out: Annotated[
        Path | None,
        typer.Option(help="A new or empty folder, or one with an earlier wardrobe. Default: var/wardrobe/PROJECT."),
    ] = None,
    by: By = "person",
    labels: Labels = "",
    min_score: MinScore = 0.0,
    soft: SoftEdges = True,
) -> None:
    """Exports a project's garments as cut-outs, with a page to search them, which opens without a server.

    An earlier wardrobe in the folder is replaced once the new one is complete. Regions that cannot be exported are
    named with the reason; the command then ends with status 1.
    """
    from backend.connections import Connections
    from launcher.commands.progress_bar import bars
    from training.data_out.export_data import Selection
    from training.data_out.wardrobe.make import PAGE, Progress, make_wardrobe

    settings = saved_settings().for_project(project)
    folder = out or settings.data_dir / "wardrobe" / str(project)
    with bars(console) as shown:
        made = make_wardrobe(
            Connections.of(settings),
            project,
            folder=folder,
            selection=Selection(by, split_list(labels), min_score),
            soft_edges=soft,
            progress=Progress(
                export=lambda approved: shown.track(approved, "Exporting"),
                compare=lambda rows: shown.track(rows, "Comparing colours"),
            ),
        )
    counted = f"{_plural(made.garments, 'garment')} of {_plural(made.photographs, 'photograph')}"
    console.print(f"In {folder}: {counted}.", markup=False)
    console.print(f"Open {folder / PAGE} in a browser.", markup=False, soft_wrap=True)
    for line in made.left_out:
        console.print(f"Left out: {line}", style="red", markup=False, highlight=False)
    if made.left_out:
        raise typer.Exit(1)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
