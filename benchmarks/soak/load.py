"""Annotators who click and submit at a real Label Studio, and what is measured beside them."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np
import psutil

from backend.domain import LabelledMask, Outlining
from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import LabelConfig
from backend.predict.fix_in_place import NOTHING_CHANGES
from backend.regions.decode import decode
from backend.regions.encode import encode
from training.metrics.interactive import next_click

GARMENTS_CLICKED = 2
Points = list[list[float]]


@dataclass(frozen=True)
class Click:
    """A click in the middle of a garment of one figure.

    Attributes:
        context: as Label Studio's page sends it.
        answer: the polygons' points that an idle service gives where no region is shown.
    """

    context: dict[str, Any]
    answer: list[Points]


@dataclass(frozen=True)
class Site:
    """The addresses and credentials of the running stack.

    Attributes:
        model_id: the connected backend, as Label Studio numbers it.
        image: seed of a figure → its address in Label Studio.
    """

    studio: LabelStudio
    url: str
    backend_url: str
    auth: tuple[str, str]
    secret: str
    project_id: int
    model_id: int
    config: LabelConfig
    config_xml: str
    image: Mapping[int, str]

    def client(self) -> httpx.Client:
        """Returns a client that opens a connection for each request, as Label Studio does."""
        return httpx.Client(timeout=110, limits=httpx.Limits(max_keepalive_connections=0))

    def headers(self) -> dict[str, str]:
        return {"Authorization": self.studio.bearer()}

    def predict_body(self, seed: int, context: Mapping[str, Any] | None, *, task_id: int = 1) -> dict[str, Any]:
        """`/predict` as Label Studio asks it, for one task."""
        task = {"id": task_id, "data": {"image": self.image[seed]}, "project": self.project_id}
        return {
            "tasks": [task],
            "project": f"{self.project_id}.1",
            "label_config": self.config_xml,
            "params": {"context": context},
        }

    def event(self) -> dict[str, Any]:
        """A webhook that a saved annotation sends."""
        return {"action": "ANNOTATION_UPDATED", "project": {"id": self.project_id}, "annotation": {"id": 1}}


def context_of(truth: LabelledMask, *, seed: int) -> dict[str, Any]:
    """A positive click in the middle of the garment."""
    height, width = truth.mask.shape
    point = next_click(truth.mask, truth.mask & False)
    value = {"x": 100 * point.x / width, "y": 100 * point.y / height, "width": 0.4, "labels": [truth.label]}
    region = {"id": f"k{seed}", "type": "keypoint", "from_name": "click", "to_name": "image", "is_positive": True}
    return {"result": [{**region, "value": value}]}


def polygons(result: Sequence[Mapping[str, Any]]) -> list[Points]:
    """The outlines in an answer."""
    return [region["value"]["points"] for region in result if region.get("type") == "polygon"]


@dataclass
class Measurements:
    """The measurements of the load. Threads share the lists: they only append, which is atomic.

    Attributes:
        latency_ms: what was asked → pairs of seconds since the start, and milliseconds it took.
        memory_mb: part → pairs of seconds since the start, and megabytes.
        errors: sentences about whatever did not answer as it should.
    """

    started: float = field(default_factory=time.monotonic)
    latency_ms: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    memory_mb: dict[str, list[tuple[float, float]]] = field(default_factory=dict)
    load_average: list[tuple[float, float]] = field(default_factory=list)
    submitted: list[int] = field(default_factory=list)
    imported: list[int] = field(default_factory=list)
    right: int = 0
    wrong: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Records how long the block takes, or its exception as an error."""
        began = time.monotonic()
        try:
            yield
        except (httpx.HTTPError, KeyError, IndexError, ValueError) as e:
            self.errors.append(f"{what}: {type(e).__name__} {e}"[:300])
            raise
        self.latency_ms.setdefault(what, []).append((began - self.started, 1000 * (time.monotonic() - began)))


class Load:
    """Threads of simulated work, which repeat it until `stop`."""

    def __init__(
        self,
        site: Site,
        clicks: Mapping[int, Sequence[Click]],
        truth: Mapping[int, Sequence[LabelledMask]],
        outlining: Outlining,
    ) -> None:
        self.measured = Measurements()
        self._site = site
        self._clicks = clicks
        self._truth = truth
        self._outlining = outlining
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._open: list[tuple[int, int]] = []
        self._threads: list[threading.Thread] = []

    def add_tasks(self, tasks: Sequence[tuple[int, int]]) -> None:
        """Adds tasks that annotators may open, each with its figure's seed."""
        with self._lock:
            self._open += tasks

    def start(self, work: Callable[..., None], *arguments: object) -> None:
        """Repeats the work in a thread."""
        thread = threading.Thread(target=self._guarded, args=(work, *arguments), daemon=True)
        self._threads.append(thread)
        thread.start()

    def stop(self) -> None:
        """Stops the threads, and waits until each has finished its current step."""
        self._stop.set()
        for thread in self._threads:
            thread.join(150)

    def _guarded(self, work: Callable[..., None], *arguments: object) -> None:
        while not self._stop.is_set():
            try:
                work(*arguments)
            except Exception as e:  # noqa: BLE001
                # The report lists every error; the other threads continue.
                self.measured.errors.append(f"{getattr(work, '__name__', 'work')}: {type(e).__name__} {e}"[:300])
                self._stop.wait(1)

    def annotate(self, number: int, pause_s: float) -> None:
        """Annotates one image: opens it, clicks on its garments, submits."""
        rng, site = random.Random(f"{number} {time.time()}"), self._site
        with self._lock:
            # The newest are not predicted yet, the oldest are.
            task_id, seed = self._open.pop(0) if self._open else (0, 0)
        if not task_id:
            self._stop.wait(2)
            return
        with site.client() as client:
            self._pause(rng, pause_s)
            with self.measured.timed("open a task"):
                url = f"{site.url}/api/tasks/{task_id}/"
                client.get(url, params={"project": site.project_id}, headers=site.headers()).raise_for_status()
            for click in self._clicks[seed]:
                self._pause(rng, pause_s)
                if self._stop.is_set():
                    return
                self._click(client, task_id, seed, click, direct=rng.random() < 0.3)
            self._pause(rng, pause_s)
            self._submit(client, task_id, seed)

    def _pause(self, rng: random.Random, mean_s: float) -> None:
        self._stop.wait(min(rng.expovariate(1 / mean_s), 4 * mean_s))

    def _click(self, client: httpx.Client, task_id: int, seed: int, click: Click, *, direct: bool) -> None:
        site, what = self._site, "click, at the backend" if direct else "click, through Label Studio"
        with self.measured.timed(what):
            if direct:
                body = site.predict_body(seed, click.context, task_id=task_id)
                answer = client.post(f"{site.backend_url}/predict", json=body, auth=site.auth).raise_for_status()
                result = answer.json()["results"][0]["result"]
            else:
                answer = client.post(
                    f"{site.url}/api/ml/{site.model_id}/interactive-annotating",
                    headers=site.headers(),
                    json={"task": task_id, "context": click.context},
                ).raise_for_status()
                found = answer.json()
                if "data" not in found:
                    raise ValueError(str(found)[:200])
                result = found["data"]["result"]
        if polygons(result) == click.answer or (not direct and self._is_fix(client, task_id, click, result)):
            self.measured.right += 1
        else:
            self.measured.wrong.append(f"task {task_id}, figure {seed}: {str(result)[:200]}")

    def _is_fix(self, client: httpx.Client, task_id: int, click: Click, result: Sequence[dict[str, Any]]) -> bool:
        """Whether the answer is a predicted region of the task that the click changed, or that nothing changes there.

        Label Studio sends the task's predictions with a click, unlike the requests at the backend itself.
        """
        url = f"{self._site.url}/api/tasks/{task_id}/"
        task = client.get(url, params={"project": self._site.project_id}, headers=self._site.headers())
        predictions = task.raise_for_status().json()["predictions"]
        (prompt,) = click.context["result"]
        (label,) = prompt["value"]["labels"]
        predicted = {
            shown.region_id: shown.mask
            for prediction in predictions
            for shown in decode(prediction["result"])[0]
            if shown.label == label
        }
        fixed = decode(result)[0]
        if not fixed:
            return bool(predicted) and NOTHING_CHANGES in str(result)
        height, width = fixed[0].mask.shape
        row, column = int(prompt["value"]["y"] * height / 100), int(prompt["value"]["x"] * width / 100)
        # A garment in parts has the region's id on one of them, and may be clicked on another.
        own = [part for part in fixed if part.region_id in predicted]
        return (
            all(part.label == label for part in fixed)
            and any(not np.array_equal(part.mask, predicted[part.region_id]) for part in own)
            and any(part.mask[row, column] for part in fixed)
        )

    def _submit(self, client: httpx.Client, task_id: int, seed: int) -> None:
        site = self._site
        result = [
            region
            for garment in self._truth[seed]
            for region in encode(garment, site.config, outlining=self._outlining, model_version="annotator")
        ]
        with self.measured.timed("submit"):
            url = f"{site.url}/api/tasks/{task_id}/annotations/"
            answer = client.post(url, headers=site.headers(), json={"result": result, "lead_time": 20.0})
            answer.raise_for_status()
        self.measured.submitted.append(int(answer.json()["id"]))

    def import_tasks(self, many: int, every_s: float, total: int) -> None:
        """Imports `many` tasks unless `total` is reached, then waits `every_s` seconds."""
        if len(self.measured.imported) >= total:
            self._stop.wait(5)
            return
        site, seeds = self._site, sorted(self._clicks)
        wanted = [seeds[number % len(seeds)] for number in range(many)]
        with site.client() as client, self.measured.timed(f"import of {many} tasks"):
            answer = client.post(
                f"{site.url}/api/projects/{site.project_id}/import",
                headers=site.headers(),
                params={"return_task_ids": "true"},
                json=[{"data": {"image": site.image[seed]}} for seed in wanted],
            ).raise_for_status()
        ids = answer.json()["task_ids"]
        self.measured.imported.extend(ids)
        self.add_tasks(list(zip(ids, wanted, strict=True)))
        self._stop.wait(every_s)

    def measure_memory(self, processes: Callable[[], Mapping[str, int]], every_s: float) -> None:
        """Records the memory of each process, and the load average."""
        at_s = time.monotonic() - self.measured.started
        for name, pid in processes().items():
            try:
                process = psutil.Process(pid)
                used = process.memory_info().rss
            except psutil.NoSuchProcess:
                continue
            self.measured.memory_mb.setdefault(name, []).append((at_s, used / 1e6))
        self.measured.load_average.append((at_s, psutil.getloadavg()[0]))
        self._stop.wait(every_s)
