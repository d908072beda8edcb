"""The invariants of a running flywheel, which hold once it is idle, whatever happened to it before."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path

import psutil
from redis.exceptions import RedisError
from rq import Queue

from backend.detector.detector_pool import load_detector
from backend.errors import DrapeError
from backend.label_studio.client import LabelStudio
from backend.queues.backlog import waiting_tasks
from backend.queues.job_records import open_ids
from backend.queues.queues import QUEUES, Queues
from backend.registry.registry import Registry, Version, check_weights
from backend.settings import Settings
from backend.storage.atomic_files import is_incomplete
from training.annotations.count import ApprovalCounter

POLL_S = 0.3


class Invariants:
    """Checks one project.

    Args:
        queues: names of the queues to wait for.
        unreadable: addresses of images that cannot be read: tasks with them have no prediction.
    """

    def __init__(
        self,
        settings: Settings,
        project_id: int,
        *,
        queues: Sequence[str] = QUEUES,
        unreadable: Collection[str] = (),
    ) -> None:
        self._settings = settings
        self._queues = queues
        self._unreadable = unreadable
        self._project_id = project_id
        self._studio = LabelStudio(settings)
        self._registry = Registry.of(settings)
        self._redis = Queues(settings).redis
        self._loaded: set[str] = set()

    def wait_until_idle(self, *, timeout_s: float) -> bool:
        """Waits until no job waits or runs; returns False if some still do after `timeout_s`."""
        deadline, idle_polls = time.monotonic() + timeout_s, 0
        while idle_polls < 3:
            if time.monotonic() > deadline:
                return False
            idle_polls = 0 if self._busy() else idle_polls + 1
            time.sleep(POLL_S)
        return True

    def _busy(self) -> bool:
        try:
            return any(open_ids(Queue(name, connection=self._redis)) for name in self._queues)
        except RedisError:
            return True

    def violations(self, submitted: Collection[int]) -> list[str]:
        """Returns a sentence for each violation.

        Args:
            submitted: ids of the annotations that Label Studio accepted from annotators.
        """
        return [
            *self._counts(submitted),
            *self._champion(),
            *self._predictions(),
            *self._jobs(),
            *unfinished_files(self._settings.data_dir),
            *zombies(),
        ]

    def _counts(self, submitted: Collection[int]) -> Iterator[str]:
        tasks = self._studio.annotated_tasks(self._project_id)
        stored = Counter(int(annotation["id"]) for task in tasks for annotation in task["annotations"])
        lost = sorted(set(submitted) - set(stored))
        if lost:
            yield f"{len(lost)} submitted annotations are not in Label Studio, such as {lost[:5]}."
        counting = ApprovalCounter(self._settings, self._studio, self._project_id)
        by_changes = {annotation.annotation_id for annotation in counting.update().approved}
        by_all = {annotation.annotation_id for annotation in counting.recount().approved}
        # Only the latest annotation of a task counts.
        latest = {
            max(int(annotation["id"]) for annotation in task["annotations"]) for task in tasks if task["annotations"]
        }
        for method, counted in (("what changed", by_changes), ("everything", by_all)):
            if counted != latest:
                yield f"By {method} {len(counted)} annotations are approved; {len(latest)} are in Label Studio."

    def _champion(self) -> Iterator[str]:
        champion = self._registry.champion(self._project_id)
        if champion is None:
            yield "The project has no champion."
            return
        try:
            check_weights(champion)
            self._load(champion)
        except DrapeError as e:
            yield f"The champion does not load: {e}"

    def _load(self, champion: Version) -> None:
        if champion.name not in self._loaded:
            load_detector(champion, device="cpu")
            self._loaded.add(champion.name)

    def _predictions(self) -> Iterator[str]:
        champion = self._registry.champion(self._project_id)
        if champion is None:
            return
        missing: Counter[int] = Counter()
        duplicated: list[int] = []
        invented: list[int] = []
        for task in self._studio.tasks(self._project_id, self._studio.task_ids(self._project_id)):
            versions = Counter(str(prediction["model_version"]) for prediction in task["predictions"])
            if any(count > 1 for count in versions.values()):
                duplicated.append(int(task["id"]))
            elif task["data"].get("image") in self._unreadable:
                invented += [int(task["id"])] * bool(versions)
            # Annotated tasks keep their earlier predictions.
            elif not task["total_annotations"] and not task["cancelled_annotations"] and not versions[champion.name]:
                missing[int(task["id"])] += 1
        if duplicated:
            yield f"{len(duplicated)} tasks have two predictions of one version, such as {duplicated[:5]}."
        if invented:
            yield f"{len(invented)} tasks have predictions of images that cannot be read, such as {invented[:5]}."
        if missing:
            yield f"{len(missing)} tasks have no prediction of {champion.name}, such as {sorted(missing)[:5]}."

    def _jobs(self) -> Iterator[str]:
        for name in self._queues:
            failed = Queue(name, connection=self._redis).failed_job_registry.get_job_ids(cleanup=False)
            if failed:
                yield f"Jobs of the queue {name} failed: {', '.join(failed[:5])}."
        left = sum(waiting_tasks(self._redis, "prelabel").values())
        if left:
            yield f"{left} tasks wait for pre-annotation, and no job is queued for them."


def unfinished_files(folder: Path) -> Iterator[str]:
    """Reports unfinished files below `folder`."""
    leftovers = [path for path in folder.rglob(".*") if is_incomplete(path)]
    if leftovers:
        yield f"Unfinished files are left: {', '.join(str(path.relative_to(folder)) for path in leftovers[:5])}."


def zombies() -> Iterator[str]:
    """Reports child processes that ended and were not waited for."""
    found = []
    for process in psutil.Process().children(recursive=True):
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                found.append(f"{process.name()} ({process.pid})")
        except psutil.NoSuchProcess:
            continue
    if found:
        yield f"Zombies are left: {', '.join(found)}."
