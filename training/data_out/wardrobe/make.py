"""Exports a project's garments with their page, and replaces the earlier ones."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from backend.connections import Connections
from backend.errors import DatasetError
from backend.images.fetch import ImageStore
from backend.storage.atomic_files import staging_folder, write_atomically
from training.annotations.approvals import Approved
from training.data_out.cutouts import write_cutouts
from training.data_out.export_data import Selection, choose
from training.data_out.garment_images import GarmentImage, garment_images
from training.data_out.left_out import FILE as LEFT_OUT
from training.data_out.left_out import write_left_out
from training.data_out.wardrobe.page import render, wardrobe_of
from training.data_out.wardrobe.pictures import Photograph, write_small_pictures

PAGE = "index.html"
TABLE = "wardrobe.parquet"
# All that a wardrobe, or an export of cut-outs, has in its folder.
OWN_NAMES = {PAGE, TABLE, "wardrobe.csv", "wardrobe.json", "cutouts", "small", LEFT_OUT}


@dataclass(frozen=True)
class Progress:
    """Each takes what is worked on, yields it one at a time, and may show the progress."""

    export: Callable[[Sequence[Approved]], Iterable[Approved]] = iter
    compare: Callable[[Sequence[int]], Iterable[int]] = iter


@dataclass(frozen=True)
class Made:
    """What was written: the number of garments and of their photographs, and lines on what was left out."""

    garments: int
    photographs: int
    left_out: tuple[str, ...]


def make_wardrobe(
    connections: Connections,
    project_id: int,
    *,
    folder: Path,
    selection: Selection,
    soft_edges: bool,
    progress: Progress,
) -> Made:
    """Writes the chosen garments and their page into a folder, and replaces the wardrobe or the cut-outs in it.

    What is in the folder stays as it is until everything new has been written.

    Args:
        soft_edges: whether cut-outs fade at the edge.

    Raises:
        DatasetError: no garment is chosen or can be cut out, a label is unknown, the folder has something else in it,
            or it cannot be written.
        LabelStudioError, LabelConfigError: Label Studio does not answer or refuses; its label config cannot be served.
    """
    folder = folder.resolve()
    try:
        _check_replaceable(folder)
        with staging_folder(folder) as staging:
            new = staging / "new"
            made = _write_all(connections, project_id, new, selection, progress, soft_edges=soft_edges)
            _replace(folder, new, old=staging / "old")
    except OSError as e:
        raise DatasetError(f"The wardrobe could not be written into {folder}: {e.strerror or e}.") from e
    return made


def write_wardrobe(
    images: Iterable[GarmentImage],
    labels: Sequence[str],
    folder: Path,
    *,
    title: str,
    tasks_url: str,
    soft_edges: bool,
    compare: Callable[[Sequence[int]], Iterable[int]] = iter,
) -> tuple[int, int]:
    """Writes cut-outs, their table, small pictures and the page; returns the numbers of garments and photographs.

    Args:
        labels: all labels that a garment may have.
        title, tasks_url: see `Wardrobe`.
        compare: see `Progress`.

    Raises:
        OSError: a file cannot be written.
    """
    photographs: list[Photograph] = []

    def with_small_pictures() -> Iterator[GarmentImage]:
        for image in images:
            photographs.append(write_small_pictures(image, folder))
            yield image

    cutouts = write_cutouts(with_small_pictures(), labels, folder, soft_edges=soft_edges)
    wardrobe = wardrobe_of(cutouts, photographs, labels, title=title, tasks_url=tasks_url, track=compare)
    write_atomically(folder / PAGE, render(wardrobe))
    return len(wardrobe.garments), len(wardrobe.photographs)


def _write_all(
    connections: Connections,
    project_id: int,
    folder: Path,
    selection: Selection,
    progress: Progress,
    *,
    soft_edges: bool,
) -> Made:
    chosen = choose(connections, project_id, selection)
    left_out: list[str] = []
    images = ImageStore(connections.settings, bearer=connections.label_studio.bearer)
    tasks_url = connections.settings.tasks_url(project_id)
    garments, photographs = write_wardrobe(
        garment_images(progress.export(chosen.approved), chosen.config, images, left_out),
        chosen.config.label_values,
        folder,
        title=chosen.title,
        tasks_url=f"{tasks_url}?task=" if tasks_url else "",
        soft_edges=soft_edges,
        compare=progress.compare,
    )
    lines = write_left_out(left_out, folder)
    if not garments:
        reasons = "".join(f"\nLeft out: {line}" for line in lines)
        raise DatasetError(f"Project {project_id} has approved images, but no garment that can be cut out.{reasons}")
    return Made(garments, photographs, tuple(lines))


def _check_replaceable(folder: Path) -> None:
    """Refuses a folder in which somebody keeps something else: all in it would be deleted."""
    if not folder.exists():
        return
    names = {path.name for path in folder.iterdir()}
    others = sorted(names - OWN_NAMES)
    if others or (names and TABLE not in names):
        what = f"has something else in it ({others[0]})" if others else "holds no wardrobe"
        raise DatasetError(f"{folder} {what}. Give a new or empty folder, or one with an earlier wardrobe.")


def _replace(folder: Path, new: Path, *, old: Path) -> None:
    """Moves the new folder to its place, and the one that was there to `old`."""
    if folder.exists():
        folder.rename(old)
    try:
        new.rename(folder)
    except BaseException:
        # Also where the command is ended just now: otherwise both would be deleted.
        if old.exists():
            old.rename(folder)
        raise
    shutil.rmtree(old, ignore_errors=True)
