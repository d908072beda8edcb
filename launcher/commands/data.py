"""`drape import` and `drape export`: data sets into a project, and a project's garments into common formats."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from launcher.commands.terminal import Terminal
from launcher.errors import LauncherError
from launcher.stack.saved_settings import kept_settings

if TYPE_CHECKING:
    from training.data_in.annotated_image import AnnotatedImage

console = Terminal()


def import_garments(
    paths: Annotated[
        list[str], typer.Argument(metavar="PATH", help="A set's folder or file; or photographs: files, a pattern.")
    ],
    project: Annotated[int, typer.Option(help="Number of the project in Label Studio.")],
    form: Annotated[
        Literal[
            "auto", "coco", "deepfashion2", "imaterialist", "masks", "parquet", "yolo", "label-studio", "photographs"
        ],
        typer.Option("--format", help="How the set is laid out; `auto` looks at it."),
    ] = "auto",
    images: Annotated[Path | None, typer.Option(help="Folder of the images, where they lie elsewhere.")] = None,
    kind: Annotated[
        Literal["annotations", "predictions"], typer.Option("--as", help="Approved garments, or such to review.")
    ] = "annotations",
    ground_truth: Annotated[bool, typer.Option("--ground-truth", help="Star the annotations.")] = False,
    mapping: Annotated[
        Path | None, typer.Option(help="YAML or JSON file, `their class: our label`; an empty label leaves out.")
    ] = None,
    classes: Annotated[
        str, typer.Option(help="What the numbers in masks mean: atr, lip, or a text file with a name a line.")
    ] = "",
    crowds: Annotated[bool, typer.Option("--crowds", help="Bring crowds of COCO (iscrowd) in as garments.")] = False,
    min_area: Annotated[int, typer.Option(min=0, help="Garments of fewer pixels are left out.")] = 0,
    fill_holes: Annotated[
        bool, typer.Option("--fill-holes", help="Fill holes in which no other garment is seen.")
    ] = False,
    remove_specks: Annotated[bool, typer.Option("--remove-specks", help="Remove specks and pinholes.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would come in; nothing is written.")] = False,
) -> None:
    """Imports photographs, or a data set with its annotations, into a project.

    It can run again: images that the project has are not imported twice, and tasks with annotations do not change.
    """
    from rich.progress import track

    from backend.label_studio.client import LabelStudio
    from launcher.commands.import_table import show_imported
    from training.data_in.formats.detect import Opening
    from training.data_in.import_data import Wanted, import_data
    from training.data_in.mask_cleaning import Cleaning

    if ground_truth and kind == "predictions":
        raise LauncherError("Predictions are no ground truth: leave --ground-truth out, or --as predictions.")
    settings = kept_settings()
    wanted = Wanted(
        form=None if form == "auto" else form,
        opening=Opening(images, classes, crowds),
        kind=kind,
        ground_truth=ground_truth,
        mapping=mapping,
        cleaning=Cleaning(min_area, fill_holes, remove_specks),
        dry_run=dry_run,
    )

    def tracked(some: Iterable[AnnotatedImage], count: int) -> Iterable[AnnotatedImage]:
        return track(some, "Reading" if dry_run else "Importing", total=count, console=console)

    imported = import_data(LabelStudio(settings), settings, project, paths, wanted=wanted, tracked=tracked)
    show_imported(imported, wanted=wanted, console=console)
    if imported.problem:
        console.print(imported.problem, style="red", markup=False, highlight=False)
        raise typer.Exit(1)


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
    """Exports a project's garments as COCO, as YOLO with splits, as index masks, or as cut-outs with a table."""
    from rich.progress import track

    from backend.connections import Connections
    from training.data_out.export_data import Chosen, export_data

    wanted = tuple(label.strip() for label in labels.split(",") if label.strip())
    count = export_data(
        Connections.of(kept_settings().for_project(project)),
        project,
        into=into,
        form=form,
        chosen=Chosen(by, wanted, min_score),
        soft=soft,
        tracked=lambda approved: track(approved, "Exporting", console=console),
    )
    console.print(f"{count} {'cut-outs' if form == 'cutouts' else 'images'} are in {into}.", markup=False)
