"""Imports a data set of others into a Label Studio project: opens, maps, cleans and writes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.settings import Settings
from training.data_in.annotated_image import AnnotatedImage
from training.data_in.class_mapping import Mapping, read_mapping
from training.data_in.formats.detect import Opening, SetFormat, open_set
from training.data_in.importer import Arriving, Manner
from training.data_in.mask_cleaning import Cleaning
from training.data_in.project_tasks import As, ProjectTasks
from training.data_in.tally import Tally


@dataclass(frozen=True)
class Wanted:
    """The options of an import.

    Attributes:
        form: the set's format; None to recognise it from the path.
        mapping: a file of `their class: our label`.
        kind, ground_truth, cleaning, dry_run: see `Manner`.
    """

    form: SetFormat | None = None
    opening: Opening = field(default_factory=Opening)
    kind: As = "annotations"
    ground_truth: bool = False
    mapping: Path | None = None
    cleaning: Cleaning = field(default_factory=Cleaning)
    dry_run: bool = False


@dataclass(frozen=True)
class Imported:
    """The result of an import, or of a dry run.

    Attributes:
        version: the model version under which Label Studio has the imported predictions.
        shown: the version whose predictions Label Studio shows in that project; empty for all.
        strangers: classes that the mapping names and the set does not have; empty where some images were not read.
        problem: a sentence where the set has garments and none of them maps to a label of the project; else empty.
    """

    form: SetFormat
    source: str
    tally: Tally
    version: str
    shown: str
    strangers: tuple[str, ...]
    problem: str


def import_data(
    label_studio: LabelStudio,
    settings: Settings,
    project_id: int,
    paths: Sequence[str],
    *,
    wanted: Wanted,
    tracked: Callable[[Iterable[AnnotatedImage], int], Iterable[AnnotatedImage]],
) -> Imported:
    """Imports a set into a project, one image at a time; no image is imported twice.

    A task that has an annotation, whoever made it, stays as it is. In an import of predictions, so does a task that
    has a prediction of the same set. After a failure or an interruption, the same call continues the import.

    Args:
        tracked: takes the images and their number, yields the images, and may show the progress.

    Raises:
        DatasetError: the set does not exist, or is damaged.
        LabelStudioError, LabelConfigError: Label Studio does not answer or refuses; its label config cannot be served.
    """
    config = parse_label_config(label_studio.project(project_id).label_config)
    mapping = read_mapping(wanted.mapping, config)
    form, source = open_set(paths, wanted.form, replace(wanted.opening, image_key=config.image_key))
    version = f"imported from {source.name}"
    manner = Manner(wanted.kind, wanted.ground_truth, wanted.cleaning, version, wanted.dry_run)
    tasks = ProjectTasks(
        label_studio, settings, project_id, image_key=config.image_key, root=source.root, dry_run=wanted.dry_run
    )
    arriving = Arriving(tasks, config, mapping, manner)
    for image in tracked(source.images, source.count):
        arriving.take(image)
    arriving.write()
    shown = label_studio.project(project_id).model_version
    tally = arriving.tally
    return Imported(form, source.name, tally, version, shown, _strangers(tally, mapping), _problem(tally, config))


def _strangers(tally: Tally, mapping: Mapping) -> tuple[str, ...]:
    met = {name.strip().casefold() for name in (*tally.unmapped, *(name for name, _ in tally.garments))}
    return () if tally.left else tuple(sorted(mapping.said.keys() - met))


def _problem(tally: Tally, config: LabelConfig) -> str:
    if tally.garments or not tally.unmapped:
        return ""
    names = ", ".join(name for name, _ in tally.unmapped.most_common(5))
    if all(name.isdigit() for name in tally.unmapped):
        return f"What the set's numbers mean ({names}) is not known: say it with --classes, or with --mapping."
    return (
        f"None of the set's classes is a label of the project: {names}. The project has: "
        f"{', '.join(config.label_values)}. Say which is which with --mapping, in a file of `their class: our label`."
    )
