"""Images a second from Label Studio's task list to stored predictions: `make bench ONLY=prelabel`.

Against a plain Ultralytics loop that only infers, over the same files at 640 pixels, in a process of its own as a user
would write it. Real Label Studio, Redis and workers, all on this machine. The photographs have two megapixels and show
a drawn figure as large as the starter model knows figures once they are seen at 640 pixels.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from backend.detector.preparation import PREPARED, preparation_folder
from backend.detector.prepare import prepare
from backend.detector.starter import STARTER
from backend.domain import LabelledMask, Pixels
from backend.images.decode import decode_image
from backend.label_studio.client import LabelStudio
from backend.queues.queues import Queues
from backend.registry.registry import Registry, Version
from backend.settings import Settings
from benchmarks.services import cpu_seconds, services, starter_version, wait_until_done, workers
from benchmarks.table import Row
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette_xml import GARMENTS, palette
from label_studio_config.provision import ensure_local_files, ensure_project

SEEDS = range(700_000, 700_600)
PLAIN_IMAGES = 150
VERIFIED = 48
IMAGE_SIZE_PX = 640
# Longer sides of a photograph and of the figure in it: at 640 pixels that is one of 256, the starter's own size.
SIDE_PX, FIGURE_SIDE_PX = 1600, 640
# As a user writes it; torch and Ultralytics choose their threads.
PLAIN = """
import sys, time
from ultralytics import YOLO
model = YOLO(sys.argv[1])
paths = sys.argv[2:]
for path in paths[:5]:
    model.predict(path, imgsz=640, verbose=False)
started = time.perf_counter()
for path in paths:
    model.predict(path, imgsz=640, verbose=False)
print(len(paths) / (time.perf_counter() - started))
"""


@dataclass(frozen=True)
class Predicted:
    """Images a second, and milliseconds of a core that an image took of each part."""

    images_a_second: float
    cpu_ms: dict[str, float]


def measure() -> list[Row]:
    """Ours and the plain loop; one worker on one core and two on two."""
    with tempfile.TemporaryDirectory() as name, services(Path(name)) as settings:
        paths = [write_photograph(seed, settings.data_dir.parent / "files" / "photographs") for seed in SEEDS]
        plain = plain_loop(paths[:PLAIN_IMAGES])
        prepared = prepare_once(settings, paths[:VERIFIED])
        both = sorted(os.sched_getaffinity(0))[:2]
        free = import_and_predict(settings, prepared, [set(both)])
        two_free = import_and_predict(settings, prepared, [set(both), set(both)])
        alone = import_and_predict(settings, prepared, [{both[0]}])
        together = import_and_predict(settings, prepared, [{core} for core in both])
        refined = import_and_predict(settings.model_copy(update={"refine": "builtin"}), prepared, [set(both)])
        again = plain_loop(paths[:PLAIN_IMAGES])
    usual = (plain + again) / 2
    count = len(SEEDS)
    (by_worker, by_redis), by_studio = (free.cpu_ms[name] for name in ("worker", "Redis")), free.cpu_ms["Label Studio"]
    return [
        Row(
            "images/s, task list to stored predictions: one worker / plain loop",
            free.images_a_second,
            usual,
            free.images_a_second / usual,
            "1/s",
            count,
        ),
        Row(
            "images/s: two workers, not bound to cores / plain loop",
            two_free.images_a_second,
            usual,
            two_free.images_a_second / usual,
            "1/s",
            count,
        ),
        Row(
            "images/s: a worker on each of two cores / one on one core",
            together.images_a_second,
            alone.images_a_second,
            together.images_a_second / alone.images_a_second,
            "1/s",
            count,
        ),
        Row(
            "images/s: one worker with REFINE=builtin / plain loop",
            refined.images_a_second,
            usual,
            refined.images_a_second / usual,
            "1/s",
            count,
        ),
        Row("computing an image: Label Studio / the worker", by_studio, by_worker, by_worker / by_studio, "ms", count),
        Row("computing an image: Redis / the worker", by_redis, by_worker, by_worker / by_redis, "ms", count),
    ]


def photograph(seed: int) -> tuple[Pixels, list[LabelledMask]]:
    """A figure in the middle of a blurred scene, `uint8 (H, W, 3)`, and its garments at that size."""
    figure = draw_figure(seed)
    high, wide = (side * FIGURE_SIDE_PX // max(figure.pixels.shape[:2]) for side in figure.pixels.shape[:2])
    height, width = (side * SIDE_PX // FIGURE_SIDE_PX for side in (high, wide))
    top, left = (height - high) // 2, (width - wide) // 2
    scene = cv2.resize(cv2.GaussianBlur(figure.pixels, (0, 0), 25), (width, height), interpolation=cv2.INTER_CUBIC)
    scene[top : top + high, left : left + wide] = cv2.resize(figure.pixels, (wide, high), interpolation=cv2.INTER_AREA)
    truth = []
    for instance in figure.instances:
        mask = np.zeros((height, width), bool)
        small = cv2.resize(instance.mask.view(np.uint8), (wide, high), interpolation=cv2.INTER_NEAREST)
        mask[top : top + high, left : left + wide] = small > 0
        truth.append(LabelledMask(mask, instance.label))
    return np.asarray(scene, np.uint8), truth


def write_photograph(seed: int, folder: Path) -> Path:
    """The path of its JPEG in `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"photograph_{seed}.jpg"
    path.write_bytes(cv2.imencode(".jpg", photograph(seed)[0][..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])[1].tobytes())
    return path


def plain_loop(paths: Sequence[Path]) -> float:
    """Images a second of `YOLO(….pt).predict(path)`."""
    command = [sys.executable, "-c", PLAIN, str(STARTER), *map(str, paths)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return float(done.stdout.strip().splitlines()[-1])


def prepare_once(settings: Settings, paths: Sequence[Path]) -> Path:
    """The folder of a preparation: every run needs a version of its own, and it is the same model."""
    version = starter_version(settings, 0, image_size_px=IMAGE_SIZE_PX)
    images = [decode_image(path.read_bytes(), source=path.name, max_pixels=10**8) for path in paths]
    truth = [photograph(seed)[1] for seed in SEEDS[: len(paths)]]
    prepare(version, images, truth=truth, device="cpu")
    return preparation_folder(version)


def import_and_predict(settings: Settings, prepared: Path, cores: list[set[int]]) -> Predicted:
    """Of a new project: models are loaded by a first few tasks, which do not count."""
    studio, queues = LabelStudio(settings), Queues(settings)
    project_id = ensure_project(studio, title=f"bench {time.time()}", label_config=palette(GARMENTS))
    ensure_local_files(studio, project_id=project_id, folder=settings.data_dir.parent / "files" / "photographs")
    version = _promoted(settings, project_id, prepared)
    tasks = studio.task_ids(project_id)
    first = 8 * len(cores)
    with workers(settings.model_copy(update={"prelabel_chunk": 8}), cores):
        chunks_of_8 = Queues(settings.model_copy(update={"prelabel_chunk": 8}))
        chunks_of_8.prelabelling(project_id, version=version.name).add(tasks[:first])
        while len(studio.waiting_task_ids(project_id, version=version.name)) > len(tasks) - first:
            time.sleep(0.5)
        # The jobs of those write their results down.
        time.sleep(1)
        started, before, images = time.perf_counter(), cpu_seconds(), len(tasks) - first
        queues.enqueue_plan(project_id)
        wait_until_done(settings, project_id, version.name)
        took_s, after = time.perf_counter() - started, cpu_seconds()
    return Predicted(images / took_s, {part: 1000 * (after[part] - before[part]) / images for part in after})


def _promoted(settings: Settings, project_id: int, prepared: Path) -> Version:
    version = starter_version(settings, project_id, image_size_px=IMAGE_SIZE_PX)
    version.files.put_folder(PREPARED, prepared)
    Registry.of(settings).promote(project_id, version.name)
    return version
