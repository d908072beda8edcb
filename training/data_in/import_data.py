"""Imports a data set of others into a Label Studio project: opens, maps, cleans and writes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from backend.errors import DatasetError
from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.settings import Settings
from training.data_in.annotated_image import AnnotatedImage
from training.data_in.class_mapping import ClassMapping, read_mapping
from training.data_in.formats.detect import SetFormat, open_set
from training.data_in.importer import MISSING, Importer, ImportOptions
from training.data_in.project_tasks import ProjectTasks
from training.data_in.tally import Tally


@dataclass(frozen=True)
class ImportResult:
    """The result of an import, or of a dry run.

    Attributes:
        version: the model version under which Label Studio has the imported predictions.
        shown_version: the version whose predictions Label Studio shows in that project; empty for all.
        unknown_classes: classes that the mapping names and the set lacks; empty where some images were not read.
        problem: a sentence where no image comes in, or where the set has garments and none of them maps to a label of
            the project; else empty.
    """

    set_format: SetFormat
    source: str
    tally: Tally
    version: str
    shown_version: str
    unknown_classes: tuple[str, ...]
    problem: str


def import_data(
    label_studio: LabelStudio,
    settings: Settings,
    project_id: int,
    paths: Sequence[str],
    *,
    options: ImportOptions,
    track: Callable[[Iterable[AnnotatedImage], int], Iterable[AnnotatedImage]],
) -> ImportResult:
    """Imports a set into a project, one image at a time; no image is imported twice.

    A task that has an annotation, whoever made it, stays as it is. In an import of predictions, so does a task that
    has a prediction of the same set. After a failure or an interruption, the same call continues the import.

    Args:
        track: takes the images and their number, yields the images, and may show the progress.

    Raises:
        DatasetError: the set does not exist, or is damaged.
        LabelStudioError, LabelConfigError: Label Studio does not answer or refuses; its label config cannot be served.
    """
    config = parse_label_config(label_studio.project(project_id).label_config)
    mapping = read_mapping(options.mapping, config)
    read_options = replace(options.read_options, image_key=config.image_key)
    set_format, source = open_set(paths, options.set_format, read_options)
    version = f"imported from {source.name}"
    tasks = ProjectTasks(
        label_studio, settings, project_id, image_key=config.image_key, root=source.root, dry_run=options.dry_run
    )
    importer = Importer(tasks, config, mapping, options, version)
    for (reason, example), count in source.left_out.items():
        importer.tally.note([reason] * count, example)
    tally = importer.tally
    try:
        for image in track(source.images, source.count):
            importer.add(image)
    except DatasetError as e:
        imported = 0 if options.dry_run else tally.new + tally.updated
        raise DatasetError(f"{e} {imported} images were imported before; the same command goes on from there.") from e
    importer.flush()
    return ImportResult(
        set_format,
        source.name,
        tally,
        version,
        shown_version=label_studio.project(project_id).model_version,
        unknown_classes=_unknown_classes(tally, mapping),
        problem=_problem(tally, config),
    )


def _unknown_classes(tally: Tally, mapping: ClassMapping) -> tuple[str, ...]:
    seen = {name.strip().casefold() for name in (*tally.unmapped, *(name for name, _ in tally.garments))}
    return () if tally.skipped else tuple(sorted(mapping.entries.keys() - seen))


def _problem(tally: Tally, config: LabelConfig) -> str:
    if not (tally.new or tally.updated or tally.skipped):
        remedy = (
            "Name the folder of the images with --images." if MISSING in tally.reasons else "The reasons are above."
        )
        return f"No image comes in. {remedy}"
    if tally.garments or not tally.unmapped:
        return ""
    names = ", ".join(name for name, _ in tally.unmapped.most_common(5))
    if all(name.isdigit() for name in tally.unmapped):
        return f"The set has class numbers without names ({names}). Name them with --classes or --mapping."
    return (
        f"None of the set's classes is a label of the project: {names}. The project has: "
        f"{', '.join(config.label_values)}. Map them with --mapping, a file of `their class: our label`."
    )
