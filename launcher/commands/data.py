"""`drape import` and `drape export`: data sets into a project, and a project's garments into common formats."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from backend.errors import QueueError
from backend.settings import Settings
from launcher.commands.options import By, Labels, Mapping, MinScore, Project, SoftEdges, split_list
from launcher.commands.terminal import Terminal
from launcher.errors import LauncherError
from launcher.stack.saved_settings import saved_settings

if TYPE_CHECKING:
    from training.data_in.annotated_image import AnnotatedImage

console = Terminal()


def have_counted(settings: Settings, project: int) -> None:
    """Has a worker count the project's labels, of which a command wrote or deleted some; says so if Redis is away."""
    from backend.queues.queues import Queues
    from backend.queues.redis_connection import REDIS_TIMEOUT_S

    try:
        Queues(settings, answer_within_s=REDIS_TIMEOUT_S).enqueue_check(project)
    except QueueError as e:
        console.print(f"{e} The labels are counted once it does and the next look is due.", markup=False)


def import_garments(
    paths: Annotated[
        list[str],
        typer.Argument(metavar="PATH", help="A data set's folder or file, or photographs: files, or a pattern."),
    ],
    project: Project,
    form: Annotated[
        Literal[
            "auto",
            "coco",
            "deepfashion2",
            "imaterialist",
            "label-studio",
            "labelme",
            "masks",
            "parquet",
            "photographs",
            "yolo",
        ],
        typer.Option("--format", help="Format of the data set; `auto` recognises it."),
    ] = "auto",
    images: Annotated[Path | None, typer.Option(help="Folder of the data set's images, if elsewhere.")] = None,
    kind: Annotated[
        Literal["annotations", "predictions"],
        typer.Option("--as", help="Import garments as approved annotations, or as predictions to review."),
    ] = "annotations",
    ground_truth: Annotated[bool, typer.Option("--ground-truth", help="Star the annotations.")] = False,
    mapping: Mapping = None,
    classes: Annotated[
        str,
        typer.Option(
            help="Class names of the numbers in masks or YOLO files: atr, lip, or a text file with one name per line. "
            "Line 1 names number 0: in masks the background, in YOLO files the first class."
        ),
    ] = "",
    crowds: Annotated[bool, typer.Option("--crowds", help="Import COCO's crowds (iscrowd) as garments.")] = False,
    min_area: Annotated[int, typer.Option(min=0, help="Leave out garments of fewer pixels.")] = 0,
    fill_holes: Annotated[
        bool, typer.Option("--fill-holes", help="Fill holes in which no other garment is visible.")
    ] = False,
    remove_specks: Annotated[bool, typer.Option("--remove-specks", help="Remove specks and pinholes.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be imported, without writing anything.")
    ] = False,
) -> None:
    """Imports photographs, or a data set with its annotations, into a project.

    It can run again: images that the project has are not imported twice, and tasks with annotations do not change.
    """
    from backend.label_studio.client import LabelStudio
    from launcher.commands.import_table import show_imported
    from launcher.commands.progress_bar import bars
    from training.data_in.formats.detect import ReadOptions
    from training.data_in.import_data import import_data
    from training.data_in.importer import ImportOptions
    from training.data_in.mask_cleaning import MaskCleaning

    if ground_truth and kind == "predictions":
        raise LauncherError("Predictions cannot be ground truth. Leave out --ground-truth or --as predictions.")
    settings = saved_settings()
    wanted = ImportOptions(
        set_format=None if form == "auto" else form,
        read_options=ReadOptions(images, classes, crowds),
        kind=kind,
        ground_truth=ground_truth,
        mapping=mapping,
        cleaning=MaskCleaning(min_area, fill_holes, remove_specks),
        dry_run=dry_run,
    )

    try:
        with bars(console) as shown:

            def tracked(annotated: Iterable[AnnotatedImage], count: int) -> Iterable[AnnotatedImage]:
                return shown.track(annotated, "Reading" if dry_run else "Importing", total=count)

            imported = import_data(LabelStudio(settings), settings, project, paths, options=wanted, track=tracked)
    finally:
        # Also after an import that stopped: what it has written is there.
        if not dry_run:
            have_counted(settings, project)
    show_imported(imported, wanted=wanted, console=console)
    if imported.problem:
        console.print(imported.problem, style="red", markup=False, highlight=False)
        raise typer.Exit(1)


def export_garments(
    project: Project,
    form: Annotated[
        Literal["coco", "coco-polygons", "yolo", "masks", "cutouts"], typer.Option("--format", help="Format to write.")
    ],
    into: Annotated[Path, typer.Option(help="A new or empty folder.")],
    by: By = "person",
    labels: Labels = "",
    min_score: MinScore = 0.0,
    soft: SoftEdges = True,
) -> None:
    """Exports a project's garments as COCO, as YOLO with splits, as index masks, or as cut-outs with a table.

    Regions that cannot be exported are named with the reason; the command then ends with status 1.
    """
    from backend.connections import Connections
    from launcher.commands.progress_bar import bars
    from training.data_out.export_data import Selection, export_data

    try:
        with bars(console) as shown:
            exported = export_data(
                Connections.of(saved_settings().for_project(project)),
                project,
                folder=into,
                export_format=form,
                selection=Selection(by, split_list(labels), min_score),
                soft_edges=soft,
                track=lambda approved: shown.track(approved, "Exporting"),
            )
    except OSError as e:
        raise LauncherError(f"The export could not be written into {into}: {e.strerror or e}.") from e
    console.print(f"{exported.count} {'cut-outs' if form == 'cutouts' else 'images'} are in {into}.", markup=False)
    for line in exported.left_out:
        console.print(f"Left out: {line}", style="red", markup=False, highlight=False)
    if exported.left_out:
        raise typer.Exit(1)
