"""Several hosts, of which some are cut off for a while: `make hosts IMAGES=500 CUT_S=30`.

Label Studio with Redis, two backends and three workers run on four hosts (network namespaces, see `network`). While
an import is pre-annotated, the host with two of the workers is cut off; then the backend that Label Studio tells of
what happens; then one host is given a new model. Somebody asks both backends all the while. At the end everything
must hold that holds of one machine: see `invariants`.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any

import httpx
import typer
from redis import Redis
from redis.exceptions import RedisError
from rich.console import Console
from rq import Queue, Worker
from rq.job import Job

from backend.errors import DrapeError, ModelError
from backend.label_studio.client import LabelStudio
from backend.queues.job_records import OPEN_STATES, open_ids
from backend.queues.queues import QUEUES, Queues
from backend.registry.files import ModelFiles, sha256_of
from backend.registry.index import Indexes
from backend.registry.registry import MODELS, Registry
from backend.storage.store import Bucket
from benchmarks.command import exit_on_known_errors
from benchmarks.hosts.rig import BACKEND, BUCKET, HOSTS, OTHER, STUDIO, WORKER_LOST_AFTER_S, WORKERS, HostRig, host_rig
from benchmarks.invariants import Invariants, unfinished_files
from benchmarks.services import starter_version
from label_studio_config.palette_xml import GARMENTS, palette

CHUNK = 16
STARTED_SHARE = 0.05
BACKEND_CUT_S = 8.0
MISSED_TASKS = 5
TIMEOUT_S = 600.0
POLL_S = 0.2
REQUEST_EVERY_S = 2.0
# What a backend answers, Label Studio stores, as far as workers know: they would leave a task of the project alone.
NO_TASK = 10**9
REQUEST_TIMEOUT_S = 30.0
LOAD_SCRIPT = """
from backend.detector.detector_pool import load_detector
from backend.registry.registry import Registry, check_weights
from backend.settings import Settings
champion = Registry.of(Settings()).champion({project})
check_weights(champion)
load_detector(champion, device="cpu")
print("loaded", champion.name)
"""


@dataclass
class Measurements:
    """Seconds that things took, by name, and what did not hold, a sentence each."""

    took_s: dict[str, float] = field(default_factory=dict)
    broken: list[str] = field(default_factory=list)
    asked: int = 0

    @contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Notes how long the block takes."""
        began = time.monotonic()
        yield
        self.took_s[what] = round(time.monotonic() - began, 1)


class PredictClient:
    """Asks for a task's prediction, now at one backend, now at the other, as a balancer in front of them would."""

    def __init__(self, rig: HostRig, task: dict[str, Any]) -> None:
        self.asked = 0
        self.lost: list[str] = []
        self.versions: dict[str, str] = {}
        self._rig = rig
        body = {"id": NO_TASK, "data": task["data"], "project": rig.project_id}
        self._body = {
            "tasks": [body],
            "project": f"{rig.project_id}.1",
            "label_config": palette(GARMENTS),
            "params": {},
        }
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask_on, daemon=True)

    def __enter__(self) -> PredictClient:
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._over.set()
        self._thread.join()

    def _ask_on(self) -> None:
        while not self._over.wait(REQUEST_EVERY_S):
            self.asked += 1
            order = (BACKEND, OTHER) if self.asked % 2 else (OTHER, BACKEND)
            if not any(self._ask(host) for host in order):
                self.lost.append(f"Neither backend answered, {self.asked} times asked.")

    def _ask(self, host: str) -> bool:
        try:
            answer = httpx.post(
                f"{self._rig.url(host)}/predict",
                json=self._body,
                auth=self._rig.auth,
                timeout=httpx.Timeout(REQUEST_TIMEOUT_S, connect=1),
            )
            self.versions[host] = answer.raise_for_status().json()["results"][0]["model_version"]
        except (httpx.HTTPError, LookupError, TypeError, ValueError):
            return False
        return True


class Scenario:
    """The steps of the scenario."""

    def __init__(self, rig: HostRig, console: Console) -> None:
        self.rig = rig
        self.measurements = Measurements()
        self.studio = LabelStudio(rig.settings)
        self.redis: Redis = Queues(rig.settings).redis
        self.invariants = Invariants(rig.settings, rig.project_id)
        self._console = console

    def import_images(self, count: int) -> list[int]:
        """Imports `count` images; returns the ids of their tasks."""
        images = self.rig.images
        rows = [{"data": {"image": images[number % len(images)]}} for number in range(count)]
        answer = httpx.post(
            f"{self.rig.settings.label_studio_url}/api/projects/{self.rig.project_id}/import?return_task_ids=true",
            json=rows,
            headers={"Authorization": self.studio.bearer()},
            timeout=120,
        )
        ids: list[int] = answer.raise_for_status().json()["task_ids"]
        return ids

    def submit(self, task_id: int) -> int:
        """Submits an empty annotation of a task; returns its id."""
        return int(self.studio.sdk.annotations.create(task_id, result=[]).id or 0)

    def predicted(self, version: str) -> int:
        """Returns how many tasks have a prediction of the version, or need none."""
        waiting = self.studio.waiting_task_ids(self.rig.project_id, version=version)
        return len(self.studio.task_ids(self.rig.project_id)) - len(waiting)

    def wait(self, ready: Callable[[], bool], *, what: str, timeout_s: float = TIMEOUT_S) -> None:
        """Waits until `ready` returns True.

        Raises:
            ModelError: it still returns False after `timeout_s`.
        """
        deadline = time.monotonic() + timeout_s
        while True:
            try:
                if ready():
                    return
            except (DrapeError, RedisError, httpx.HTTPError):
                pass
            if time.monotonic() > deadline:
                raise ModelError(f"Not within {timeout_s:.0f} s: {what}.")
            time.sleep(POLL_S)

    def log(self, sentence: str) -> None:
        """Prints the progress."""
        self._console.print(sentence, highlight=False, markup=False)

    def import_with_cut(self, images: int, cut_s: float) -> None:
        """An import; in the midst of it the host with two workers is cut off, for so long, and comes back."""
        began = time.monotonic()
        first = self.champion()
        with self.measurements.timed("import told"):
            self.import_images(images)
        self.wait(lambda: self.predicted(first) >= STARTED_SHARE * images, what="the first predictions")
        with self.rig.network.cut(WORKERS):
            begun = self.predicted(first)
            self.log(f"{begun} of {images} images are predicted: the workers' host is cut off.")
            if begun >= images:
                self.measurements.broken.append("The import was over before a host was cut off: import more images.")
            time.sleep(cut_s)
        self.log(f"It is back; {self.predicted(first)} are predicted.")
        with self.measurements.timed("all predicted, after the cut"):
            self.wait(lambda: self.predicted(first) >= images, what="every image predicted")
        with self.measurements.timed("quiet, after that"):
            self.wait(lambda: self.invariants.wait_until_idle(timeout_s=10), what="no job open")
        self.measurements.took_s["import, with the cut"] = round(time.monotonic() - began, 1)

    def miss_events(self) -> list[int]:
        """The backend that Label Studio tells of events is cut off for some seconds; what is submitted meanwhile."""
        with self.rig.network.cut(BACKEND):
            until = time.monotonic() + BACKEND_CUT_S
            ids = self.import_images(MISSED_TASKS)
            submitted = [self.submit(ids[0])]
            time.sleep(max(until - time.monotonic(), 0))
        total = len(self.studio.task_ids(self.rig.project_id))
        with self.measurements.timed("missed events made up for"):
            self.wait(lambda: self.predicted(self.champion()) >= total, what="what events would have told")
        return submitted

    def promote(self, asker: PredictClient) -> None:
        """Promotes a new model on one host; waits until all hosts use it."""
        before = self.champion()
        version = starter_version(self.rig.settings_for(OTHER), self.rig.project_id, image_size_px=256)
        command = ("-m", "launcher.cli", "models", "promote", "--project", str(self.rig.project_id), version.name)
        output = self.rig.run(OTHER, *command)
        if version.name not in output:
            self.measurements.broken.append(f"`drape models promote` says: {output[-300:]}")
        with self.measurements.timed("both backends answer with the new model"):
            self.wait(
                lambda: set(asker.versions.values()) == {version.name}, what=f"{version.name} in {before}'s place"
            )
        total = len(self.studio.task_ids(self.rig.project_id))
        with self.measurements.timed("all predicted by the new model"):
            self.wait(lambda: self.predicted(version.name) >= total, what="every image predicted anew")
            self.wait(lambda: self.invariants.wait_until_idle(timeout_s=10), what="no job open")

    def champion(self) -> str:
        """Returns the name of the current version, as this process sees it."""
        found = Registry.of(self.rig.settings).champion(self.rig.project_id)
        return found.name if found else ""

    def check(self, submitted: list[int], before: dict[str, int]) -> None:
        """Checks the invariants at the end."""
        broken = self.measurements.broken
        broken += self.invariants.violations(submitted)
        broken += orphaned_jobs(self.redis)
        broken += incomplete_versions()
        for host in HOSTS:
            broken += unfinished_files(self.rig.folder / host) if host != STUDIO else []
        for host in (BACKEND, OTHER, WORKERS):
            output = self.rig.run(host, "-c", LOAD_SCRIPT.format(project=self.rig.project_id))
            if f"loaded {self.champion()}" not in output:
                broken.append(f"The champion does not load on the host {host}: {output[-300:]}")
        after = self.rig.supervisor.processes()
        restarted = sorted(name for name, pid in before.items() if after.get(name) != pid)
        if restarted:
            broken.append(f"These processes ended and were restarted: {', '.join(restarted)}.")
        worker_hosts = {worker.hostname for worker in Worker.all(connection=self.redis)}
        if worker_hosts != {OTHER, WORKERS}:
            broken.append(f"Redis knows of workers on {sorted(str(host) for host in worker_hosts)} alone.")


def orphaned_jobs(redis: Redis) -> Iterator[str]:
    """Reports jobs that are open although no queue and no worker has them."""
    held = {job_id for name in QUEUES for job_id in open_ids(Queue(name, connection=redis))}
    ids = {
        key.decode().removeprefix("rq:job:")
        for key in redis.scan_iter("rq:job:*", count=1000)
        if redis.type(key) == b"hash"
    }
    lost = [
        job for job in Job.fetch_many(sorted(ids - held), connection=redis) if job and job.get_status() in OPEN_STATES
    ]
    if lost:
        yield f"{len(lost)} jobs are open and nobody has them, such as {lost[0].func_name} {lost[0].id}."


def incomplete_versions() -> Iterator[str]:
    """Reports incomplete model versions and unfinished uploads in the bucket."""
    from s3fs import S3FileSystem

    bucket = S3FileSystem(skip_instance_cache=True)
    storage = Bucket(f"s3://{BUCKET}")
    files = ModelFiles(storage, indexes := Indexes(storage, f"{MODELS}/"), Path(), f"{MODELS}/")
    for project_id in indexes.project_ids():
        index = indexes.read(project_id)
        for name, digests in index.versions.items():
            for path, digest in digests.items():
                location = files.prefix + files.location(project_id, name, path, digest)
                try:
                    whole = sha256_of(storage.read(location)) == digest
                except FileNotFoundError:
                    whole = False
                if not whole:
                    yield f"{location} in the bucket is missing or damaged."
        if not index.champion:
            yield f"Project {project_id} has no champion in the bucket."
    begun = bucket.call_s3("list_multipart_uploads", Bucket=BUCKET).get("Uploads")
    if begun:
        yield f"{len(begun)} uploads are unfinished."


def run(images: int, cut_s: float, console: Console, *, keep_logs: Path | None = None) -> Measurements:
    """Runs the scenario on four hosts.

    Raises:
        DrapeError, LauncherError: something does not start, or does not come about.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        folder, began = Path(name), time.monotonic()
        try:
            with host_rig(folder, chunk=CHUNK) as rig:
                scenario = Scenario(rig, console)
                before = rig.supervisor.processes()
                (task_id,) = scenario.import_images(1)
                task = scenario.studio.tasks(rig.project_id, [task_id])[0]
                scenario.wait(lambda: scenario.predicted(scenario.champion()) == 1, what="a first prediction")
                scenario.measurements.took_s["start"] = round(time.monotonic() - began, 1)
                with PredictClient(rig, task) as asker:
                    scenario.import_with_cut(images, cut_s)
                    submitted = scenario.miss_events()
                    scenario.promote(asker)
                scenario.measurements.asked = asker.asked
                scenario.measurements.broken += asker.lost
                scenario.check(submitted, before)
                return scenario.measurements
        finally:
            if keep_logs is not None:
                shutil.copytree(folder / "logs", keep_logs, dirs_exist_ok=True)


def main(
    images: Annotated[int, typer.Option(min=20, help="Images that are imported.")] = 500,
    cut_s: Annotated[
        float, typer.Option(min=WORKER_LOST_AFTER_S, help="Seconds that the workers' host is cut off.")
    ] = 30.0,
) -> None:
    """Cuts hosts off while an import is pre-annotated. Ends with 1 where anything does not add up afterwards."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    with exit_on_known_errors(console):
        result = run(images, cut_s, console, keep_logs=Path("var") / "hosts")
    for what, seconds in result.took_s.items():
        console.print(f"{what}: {seconds} s", highlight=False)
    console.print(f"asked at the backends meanwhile: {result.asked} times", highlight=False)
    for sentence in result.broken:
        console.print(f"Does not hold: {sentence}", markup=False, highlight=False, style="red")
    raise typer.Exit(1 if result.broken else 0)


if __name__ == "__main__":
    typer.run(main)
