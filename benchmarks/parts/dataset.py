"""The data set of a project, built again, against Label Studio's own YOLO export of the same project."""

from __future__ import annotations

import io
import tempfile
import time
import zipfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from backend.domain import Image, LabelledMask, Mask, Outlining
from backend.errors import DatasetError
from backend.images.fetch import ImageStore
from backend.images.task_image import load_image
from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.payloads import Task
from backend.regions.encode import encode
from backend.regions.polygons import outline_to_mask
from backend.settings import Settings
from benchmarks.services import services
from benchmarks.table import Row, faster, timed
from label_studio_config.demo.figures import draw_figure
from label_studio_config.demo.write import write_images
from label_studio_config.palette_xml import GARMENTS
from label_studio_config.provision import ensure_local_files, ensure_project
from training.annotations.approvals import Approved, approved_annotations
from training.annotations.count import OVERLAP, ApprovalCounter
from training.dataset.build import Dataset, build_dataset
from training.metrics.matching import overlap

IMAGES, ROUNDS = 300, 5
FIRST_SEED = 700_000
IMAGE_SIZE_PX = 640
# Ours are outlined once more, to a pixel: of small garments that is some hundredths.
LEAST_IOU = 0.9
# Of one palette for all tools, as Drape's own configs have it, Label Studio's YOLO export holds no outlines.
CONFIG = (
    '<View><Image name="image" value="$image"/><PolygonLabels name="polygon" toName="image">'
    + "".join(f'<Label value="{label}"/>' for label in GARMENTS)
    + "</PolygonLabels></View>"
)
# In which outlines are compared, in pixels.
CANVAS_WH = 480, 640


def measure() -> list[Row]:
    """Both ways from asking Label Studio to label files on disk; and ours the first time, when all is new."""
    with tempfile.TemporaryDirectory() as name, services(Path(name)) as settings:
        studio = LabelStudio(settings)
        project_id, seeds = _annotated_project(studio, settings)
        config = parse_label_config(CONFIG)
        images = ImageStore(settings, bearer=studio.bearer)
        fetched = approved_annotations(studio.annotated_tasks(project_id))

        def load(annotation: Approved) -> Image:
            return load_image(images, Task(id=annotation.task_id, data=annotation.data), config, side_px=IMAGE_SIZE_PX)

        def build(approved: list[Approved], folder: str) -> Dataset:
            return build_dataset(approved, config, folder=Path(name) / folder, load=load, image_size_px=IMAGE_SIZE_PX)

        def export() -> bytes:
            return b"".join(studio.sdk.projects.exports.download_sync(project_id, export_type="YOLO"))

        def change() -> None:
            """Moves a corner of one garment, so that its image is another training example."""
            (task,) = studio.annotated_tasks(project_id, among=[min(seeds)])
            (annotation,) = task["annotations"]
            annotation["result"][0]["value"]["points"][0][0] += 0.01
            studio.sdk.annotations.update(annotation["id"], result=annotation["result"])

        _compare(build(fetched, "set"), export(), seeds)
        counting = ApprovalCounter(settings, studio, project_id)
        counting.recount()
        again = timed(lambda _: build(list(counting.update().approved), "set"), ROUNDS, before=change)
        theirs = timed(lambda _: export(), ROUNDS)
        fetch = timed(lambda _: counting.update(), ROUNDS, before=change)
        first = timed(lambda number: build(fetched, f"first{number}"), 2)
        only = timed(lambda _: build(fetched, "set"), ROUNDS)
    return [
        faster(f"data set of {IMAGES} images, one changed, built again / Label Studio's YOLO export", again, theirs),
        faster("the same, of which asking Label Studio for changes / Label Studio's YOLO export", fetch, theirs),
        faster("the same, of which building / Label Studio's YOLO export", only, theirs),
        faster("building again / building for the first time, images and all", only, first),
    ]


def _annotated_project(studio: LabelStudio, settings: Settings) -> tuple[int, dict[int, int]]:
    """A project of drawn figures, all annotated, and the seed of each task's figure."""
    folder = settings.data_dir.parent / "files" / "figures"
    write_images(folder, range(FIRST_SEED, FIRST_SEED + IMAGES))
    project_id = ensure_project(studio, title="data set", label_config=CONFIG)
    ensure_local_files(studio, project_id=project_id, folder=folder)
    config = parse_label_config(CONFIG)
    seeds = {}
    for task in studio.tasks(project_id, studio.task_ids(project_id)):
        seed = seeds[int(task["id"])] = int(task["data"]["image"].rsplit("_", 1)[-1].removesuffix(".jpg"))
        result = [
            region
            for instance in draw_figure(seed).instances
            for region in encode(
                LabelledMask(instance.mask, instance.label),
                config,
                outlining=Outlining(parts="joined"),
                model_version="person",
            )
        ]
        last = studio.sdk.annotations.create(int(task["id"]), result=result)
    # What was annotated in the last seconds before the latest change is listed again by each count: here, as in a
    # project at work, that is one image and not all.
    time.sleep(OVERLAP.total_seconds() + 1)
    studio.sdk.annotations.update(int(last.id or 0), result=last.result)
    return project_id, seeds


def _compare(ours: Dataset, archive: bytes, seeds: dict[int, int]) -> None:
    """Raises `DatasetError` unless both hold the same garments, mask for mask.

    Args:
        seeds: task id → its figure's seed, which the files of the export are named by.
    """
    theirs = {}
    with zipfile.ZipFile(io.BytesIO(archive)) as files:
        names = files.read("classes.txt").decode().split("\n")
        for file in files.namelist():
            if file.startswith("labels/") and file.endswith(".txt"):
                theirs[int(Path(file).stem.rsplit("_", 1)[-1])] = _masks(files.read(file).decode(), names)
    for task_id, seed in seeds.items():
        label_file = ours.data_yaml.parent / "labels" / f"task_{task_id}.txt"
        here = _masks(label_file.read_text(), ours.manifest.classes)
        there = theirs[seed]
        if sorted(label for label, _ in here) != sorted(label for label, _ in there):
            raise DatasetError(f"Of figure {seed} ours and Label Studio's hold other labels.")
        for label, mask in here:
            if max(overlap(mask, other) for name, other in there if name == label) < LEAST_IOU:
                raise DatasetError(f"A {label} of figure {seed} has another outline in Label Studio's.")


def _masks(text: str, names: Sequence[str]) -> list[tuple[str, Mask]]:
    rows = [line.split() for line in text.splitlines()]
    side = np.array(CANVAS_WH)
    return [
        (names[int(row[0])], outline_to_mask(np.array(row[1:], float).reshape(-1, 2) * side, size_wh=CANVAS_WH))
        for row in rows
    ]
