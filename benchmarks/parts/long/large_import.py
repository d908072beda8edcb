"""20,000 tasks in one import: memory of every process, and whether Label Studio still answers.

`make bench ONLY=large_import`; about a quarter of an hour on two cores.
"""

from __future__ import annotations

import json
import shutil
import tempfile
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import numpy as np
import psutil

from backend.detector.prepare import prepare
from backend.errors import ModelError
from backend.images.decode import decode_image
from backend.label_studio.client import LabelStudio
from backend.queues.queues import Queues
from backend.registry.registry import Registry
from backend.settings import Settings
from benchmarks.services import services, starter_version, wait_until_done, workers
from benchmarks.table import Row
from label_studio_config.demo.write import write_images
from label_studio_config.palette_xml import GARMENTS, palette
from label_studio_config.provision import ensure_local_files, ensure_project

TASKS, FILES, A_REQUEST = 20_000, 100, 5_000
IMAGE_SIZE_PX = 256
WATCH_EVERY_S = 2.0
REPORT = Path("var/large_import.json")
# Caches fill first.
SETTLED_AFTER = 0.25


@dataclass(frozen=True)
class Moment:
    """What was seen at one time: seconds since the start, megabytes by process, Label Studio's answer in ms."""

    at_s: float
    memory_mb: dict[str, float]
    answer_ms: float


class Watch:
    """Looks at processes and asks Label Studio for the project, again and again, beside the import."""

    def __init__(self, settings: Settings, project_id: int, processes: dict[str, int]) -> None:
        self.moments: list[Moment] = []
        self._settings, self._project_id = settings, project_id
        self._processes = {name: psutil.Process(pid) for name, pid in processes.items()}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> Watch:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._over.set()
        self._thread.join()

    def _look(self) -> None:
        started = time.monotonic()
        studio = LabelStudio(self._settings)
        with httpx.Client(base_url=self._settings.label_studio_url, timeout=60) as client:
            while not self._over.wait(WATCH_EVERY_S):
                asked = time.monotonic()
                headers = {"Authorization": studio.bearer()}
                client.get(f"/api/projects/{self._project_id}/", headers=headers).raise_for_status()
                memory = {name: process.memory_info().rss / 1e6 for name, process in self._processes.items()}
                self.moments.append(Moment(asked - started, memory, 1000 * (time.monotonic() - asked)))


def measure() -> list[Row]:
    """Memory at the end against that after a quarter of the way, process by process; Label Studio's answers."""
    with tempfile.TemporaryDirectory() as name, services(Path(name)) as settings:
        studio = LabelStudio(settings)
        folder = settings.data_dir.parent / "files" / "figures"
        paths = write_images(folder, range(800_000, 800_000 + FILES))
        project_id = ensure_project(studio, title="large import", label_config=palette(GARMENTS))
        ensure_local_files(studio, project_id=project_id, folder=folder)
        first = studio.tasks(project_id, studio.task_ids(project_id))
        addresses = [task["data"]["image"] for task in first]
        for begin in range(FILES, TASKS, A_REQUEST):
            rows = [{"data": {"image": addresses[n % FILES]}} for n in range(begin, min(begin + A_REQUEST, TASKS))]
            studio.sdk.projects.import_tasks(project_id, request=rows, request_options={"timeout_in_seconds": 600})
        version = starter_version(settings, project_id, image_size_px=IMAGE_SIZE_PX)
        prepare(version, [decode_image(p.read_bytes(), source=p.name, max_pixels=10**8) for p in paths], device="cpu")
        Registry.of(settings).promote(project_id, version.name)
        with workers(settings, [{0, 1}]) as (worker,):
            processes = {"worker": worker.pid, **_services_of(settings)}
            started = time.monotonic()
            with Watch(settings, project_id, processes) as watch:
                # As the webhook of one import does it.
                Queues(settings).enqueue_imported(project_id, studio.task_ids(project_id))
                wait_until_done(settings, project_id, version.name, poll_s=1.0)
            took_s = time.monotonic() - started
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text(json.dumps([asdict(moment) for moment in watch.moments], indent=1) + "\n")
    shutil.rmtree(settings.data_dir, ignore_errors=True)
    return rows_of(watch.moments, took_s)


def rows_of(moments: list[Moment], took_s: float) -> list[Row]:
    """Memory at a quarter of the way and at the end; the time of Label Studio's answers beside the import."""
    if len(moments) < 8:
        raise ModelError("The import was over before anything could be watched.")
    settled = moments[int(len(moments) * SETTLED_AFTER) :]
    rows = []
    for name in settled[0].memory_mb:
        used = [moment.memory_mb[name] for moment in settled]
        initial_mb, final_mb = float(np.median(used[:5])), float(np.median(used[-5:]))
        rows.append(
            Row(
                f"{TASKS} tasks, memory of {name}: at the end / at a quarter",
                final_mb,
                initial_mb,
                initial_mb / final_mb,
                "MB",
                TASKS,
            )
        )
    answers = [moment.answer_ms for moment in moments]
    rows.append(
        Row(
            f"{TASKS} tasks in {took_s:.0f} s ({60 * TASKS / took_s:.0f} a minute): Label Studio's answer meanwhile",
            float(np.median(answers)),
            1000.0,
            1000 / float(np.median(answers)),
            "ms",
            len(answers),
            ours_95=float(np.percentile(answers, 95)),
        )
    )
    return rows


def _services_of(settings: Settings) -> dict[str, int]:
    """Process numbers of the Redis and the Label Studio whose data lie beside ours."""
    folder = str(settings.data_dir.parent)
    found = {}
    for process in psutil.process_iter(["pid", "cmdline", "cwd"]):
        command = " ".join(process.info["cmdline"] or [])
        if "redis-server" in command and (process.info["cwd"] or "").startswith(folder):
            found["Redis"] = process.info["pid"]
        if "label-studio" in command and (process.info["cwd"] or "").startswith(folder):
            found["Label Studio"] = process.info["pid"]
    return found
