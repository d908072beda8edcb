"""Random faults in the whole stack, and what must hold after each: `make faults ROUNDS=200 SEED=1`.

Redis, a stock Label Studio, the backend, its workers and the timer run under a supervisor, on a small disk of their
own where that can be mounted. Each round takes one fault by the seed (a process is killed, asked to end or stopped for
a while, connections are dropped or delayed, the disk is full, Redis refuses writes, a clock is wrong, another version
is promoted, an image is forbidden, a job kills its workers), while an annotation is submitted and tasks are imported,
at times with a training. Then it is healed, and what must hold is looked at: see `invariants`.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import httpx
import typer
from redis.exceptions import RedisError
from rich.console import Console
from rq import Queue, Retry

from backend.connections import promote_and_prelabel
from backend.errors import DrapeError, ModelError
from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import parse_label_config
from backend.queues.job_records import KEEP_FAILURE_S, RETRIES, remove_ended
from backend.queues.queues import CHECKS, PRELABEL, QUEUES, TRAIN, Queues
from backend.regions.encode import encode
from backend.registry.registry import Registry
from backend.registry.verdict import read_verdict
from backend.settings import Settings
from backend.telemetry.problems import Problems
from benchmarks.command import exit_on_known_errors
from benchmarks.faults.deadly import JOB_ID, die
from benchmarks.faults.rig import DURING_TRAINING, Fault, Rig, draw_fault, small_disk
from benchmarks.invariants import Invariants
from benchmarks.soak.__main__ import truth_of
from training.runs import run_folder

TRAINING_SHARE = 0.06
ENOUGH_TO_TRAIN = 4
# Label Studio answers 403 for a file of its own that nobody uploaded.
FORBIDDEN = "/storage-data/uploaded/?filepath=upload/nobody/has.jpg"
TRAINING_BEGINS_WITHIN_S = 120.0
# Includes a training and its new predictions. The timer replaces a lost webhook.
SETTLE_TIMEOUT_S = 400.0
FAKETIME = (
    "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
    "/usr/lib/aarch64-linux-gnu/faketime/libfaketimeMT.so.1",
)


@dataclass
class WorkLog:
    """What annotators and imports have done so far."""

    submitted: list[int] = field(default_factory=list)
    refused: int = 0
    trainings: int = 0


class Work:
    """The work of annotators and imports during the faults."""

    def __init__(self, settings: Settings, project_id: int) -> None:
        self.done = WorkLog()
        self._settings = settings
        self._project_id = project_id
        self._studio = LabelStudio(settings)
        self._config = parse_label_config(self._studio.project(project_id).label_config)
        tasks = self._studio.tasks(project_id, self._studio.task_ids(project_id))
        self._images = sorted({task["data"]["image"] for task in tasks})
        self._open = [(int(task["id"]), task["data"]["image"]) for task in tasks]
        self._truth = {image: truth_of(int(Path(image).stem.rsplit("_", 1)[-1])) for image in self._images}

    def do_some(self, rng: random.Random, *, beside: Sequence[str] = ()) -> None:
        """Submits an annotation, imports a few tasks, and sometimes queues a training; refused requests are counted.

        Args:
            beside: addresses of images that are imported with the others, and never annotated.
        """
        rng.shuffle(self._open)
        if self._open:
            self._guarded(lambda: self._submit(*self._open[-1]))
        self._guarded(lambda: self._import(rng.choices(self._images, k=rng.randint(1, 5)), beside))
        if rng.random() < TRAINING_SHARE and len(self.done.submitted) >= ENOUGH_TO_TRAIN:
            self._guarded(self._train)

    def begin_training(self, rng: random.Random) -> None:
        """Queues a training, and waits until it has read which version is the champion."""
        for _ in range(ENOUGH_TO_TRAIN - len(self.done.submitted)):
            self.do_some(rng)
        self._train()
        read = run_folder(self._settings, self._project_id) / "approved.json"
        deadline = time.monotonic() + TRAINING_BEGINS_WITHIN_S
        while not read.is_file() and time.monotonic() < deadline:
            time.sleep(0.1)

    def promote_another(self) -> str:
        """Promotes the latest version that is not the champion; returns its name."""
        registry = Registry.of(self._settings)
        champion = registry.champion(self._project_id)
        name = next(one.name for one in reversed(registry.versions(self._project_id)) if one != champion)
        promote_and_prelabel(registry, Queues(self._settings), self._project_id, name)
        return name

    def queue_deadly_job(self) -> None:
        """Queues a job that kills each worker that runs it."""
        Queue(PRELABEL, connection=Queues(self._settings).redis).enqueue(
            die, self._project_id, job_id=JOB_ID, retry=Retry(max=RETRIES), failure_ttl=KEEP_FAILURE_S
        )

    def _guarded(self, act: Callable[[], None]) -> None:
        try:
            act()
        except (httpx.HTTPError, DrapeError, KeyError, ValueError):
            self.done.refused += 1

    def _post(self, path: str, body: object) -> httpx.Response:
        url = self._settings.label_studio_url
        headers = {"Authorization": self._studio.bearer()}
        answer = httpx.post(f"{url}{path}", json=body, headers=headers, timeout=20)
        return answer.raise_for_status()

    def _submit(self, task_id: int, image: str) -> None:
        result = [
            region
            for garment in self._truth[image]
            for region in encode(garment, self._config, outlining=self._settings.outlining, model_version="annotator")
        ]
        # Removed before the request: an annotation that was stored without an answer is not submitted again.
        self._open.pop()
        answer = self._post(f"/api/tasks/{task_id}/annotations/", {"result": result, "lead_time": 5.0})
        self.done.submitted.append(int(answer.json()["id"]))

    def _import(self, images: Sequence[str], beside: Sequence[str]) -> None:
        path = f"/api/projects/{self._project_id}/import?return_task_ids=true"
        ids = self._post(path, [{"data": {"image": image}} for image in [*beside, *images]]).json()["task_ids"]
        self._open += zip(ids[len(beside) :], images, strict=True)

    def _train(self) -> None:
        if Queues(self._settings, answer_within_s=5).enqueue_training(self._project_id, reason="faults"):
            self.done.trainings += 1


@dataclass
class Harness:
    """Runs the rounds, one after another."""

    rig: Rig
    settings: Settings
    project_id: int
    seed: int
    console: Console

    def __post_init__(self) -> None:
        # The clock fills the queue of counts and looks anew before a slow machine has emptied it, and what fails there
        # while Label Studio is away is done again by the next.
        work = [name for name in QUEUES if name != CHECKS]
        self.invariants = Invariants(self.settings, self.project_id, queues=work, unreadable=[FORBIDDEN])
        self.work = Work(self.settings, self.project_id)
        self.problems = Problems(Queues(self.settings).redis)

    def wait_until_healthy(self, after: str = "") -> list[str]:
        """Waits until all services run, no job is open and all invariants hold; returns the violations at the timeout.

        A training may fail because the disk is full, if its error says so: its labels count for the next one. The job
        that kills its workers must fail.

        Args:
            after: the kind of fault that was healed.
        """
        is_given_up = after != "deadly"
        ends_at = time.monotonic() + SETTLE_TIMEOUT_S
        violations = ["A service has not come back up."]
        while time.monotonic() < ends_at:
            if not self.rig.is_up(self.settings):
                time.sleep(0.2)
                continue
            try:
                is_idle = self.invariants.wait_until_idle(timeout_s=max(ends_at - time.monotonic(), 1))
                if after == "full":
                    self.remove_failed_jobs([TRAIN], containing=os.strerror(errno.ENOSPC))
                if not is_given_up:
                    is_given_up = bool(self.remove_failed_jobs([PRELABEL], containing=JOB_ID))
                violations = self.invariants.violations(self.work.done.submitted) if is_idle else ["Jobs do not end."]
            except (DrapeError, RedisError, httpx.HTTPError, OSError) as e:
                violations = [f"The check failed: {type(e).__name__} {e}"]
            if not is_given_up:
                violations = [*violations, "The job that kills its workers was not given up."]
            if not violations:
                return []
            time.sleep(1)
        return violations

    def run_round(self, number: int) -> tuple[Fault, list[str], float]:
        """Runs a round with one fault; returns the fault, the violations after it, and the round's seconds."""
        rng = random.Random(f"{self.seed}-{number}")
        fault = draw_fault(rng, disk=self.rig.disk is not None, clocks=self.rig.faketime is not None)
        began = time.monotonic()
        before = len(Registry.of(self.settings).versions(self.project_id))
        trainings = self.work.done.trainings
        if rng.random() < 0.5:
            # This work is in progress when the fault begins.
            self.work.do_some(rng)
            time.sleep(rng.uniform(0, 1.5))
        if fault.target == DURING_TRAINING:
            self.work.begin_training(rng)
        promoted = ""
        with self.rig.inject(fault):
            ends_at = time.monotonic() + fault.seconds
            if fault.kind == "deadly":
                self.work.queue_deadly_job()
            self.work.do_some(rng, beside=[FORBIDDEN] if fault.kind == "forbidden" else [])
            time.sleep(max(ends_at - time.monotonic(), 0))
            if fault.kind == "promote":
                promoted = self.work.promote_another()
        violations = self.wait_until_healthy(fault.kind)
        if promoted:
            violations += self._promotion_undone(promoted)
        new_versions = len(Registry.of(self.settings).versions(self.project_id)) - before
        requested = self.work.done.trainings - trainings
        if new_versions > requested or (new_versions < requested and fault.kind != "full"):
            violations.append(f"{requested} trainings were requested, but {new_versions} versions were made.")
        return fault, violations, time.monotonic() - began

    def _promotion_undone(self, promoted: str) -> list[str]:
        """A training may replace a version that was promoted while it ran, if it was compared with that version."""
        champion = Registry.of(self.settings).champion(self.project_id)
        verdict = read_verdict(champion) if champion else None
        if champion and (champion.name == promoted or (verdict and verdict.champion == promoted)):
            return []
        compared = verdict.champion if verdict else None
        return [f"{promoted} was promoted; {champion and champion.name} took its place, compared with {compared}."]

    def remove_failed_jobs(self, queues: Sequence[str] = QUEUES, *, containing: str = "") -> list[str]:
        """Deletes failed jobs, so that they count no more; returns the id of each, and the last line of its error."""
        failures = []
        for name in queues:
            queue = Queue(name, connection=Queues(self.settings).redis)
            for job_id in queue.failed_job_registry.get_job_ids(cleanup=False):
                job = queue.fetch_job(job_id)
                result = job.latest_result() if job else None
                lines = ((result and result.exc_string) or "").strip().splitlines() or [""]
                failure = f"{job_id}: {lines[-1]}"
                if containing in failure:
                    failures.append(failure)
                    remove_ended(queue, job_id)
        return failures


def run(rounds: int, seed: int, first: int, faketime: Path | None, console: Console) -> int:
    """Runs the rounds; returns how many of them ended with violations.

    Raises:
        DrapeError, LauncherError: something does not start.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name, small_disk(Path(name) / "disk") as disk:
        (Path(name) / "files").mkdir()
        left_out = [
            kind for kind, is_available in (("full disks", disk), ("wrong clocks", faketime)) if not is_available
        ]
        console.print(f"Left out: {', '.join(left_out)}." if left_out else "All kinds of faults.")
        console.print("Starting Redis, Label Studio, the backend and its workers …")
        rig, broken_rounds, durations_s = Rig(Path(name), disk=disk, faketime=faketime), 0, []
        with rig.running() as (settings, project_id):
            harness = Harness(rig, settings, project_id, seed, console)
            violations = harness.wait_until_healthy()
            if violations:
                raise ModelError(f"The stack is not healthy before the first fault: {' '.join(violations)}")
            for number in range(first, first + rounds):
                fault, violations, duration_s = harness.run_round(number)
                durations_s.append(duration_s)
                console.print(
                    f"Round {number} ({duration_s:.1f} s): {fault}: {'ok' if not violations else 'VIOLATIONS'}"
                )
                for sentence in violations:
                    console.print(f"  {sentence}", markup=False, highlight=False)
                if violations:
                    broken_rounds += 1
                    for failure in harness.remove_failed_jobs():
                        console.print(f"  failed: {failure}", markup=False, highlight=False)
                    for problem in harness.problems.recent(3):
                        console.print(f"  told: {problem.text}", markup=False, highlight=False)
                    console.print(f"  again: make faults ROUNDS=1 SEED={seed} FIRST={number}")
                    logs = Path("var") / "faults" / f"{seed}-{number}"
                    shutil.copytree(Path(name) / "logs", logs, dirs_exist_ok=True)
                    console.print(f"  logs: {logs}")
            done = harness.work.done
        console.print(
            f"{rounds} rounds in {sum(durations_s):.0f} s, {broken_rounds} with violations. "
            f"{len(done.submitted)} annotations were submitted, {done.trainings} trainings ran, "
            f"{done.refused} requests were refused during faults."
        )
    return broken_rounds


def main(
    rounds: Annotated[int, typer.Option(min=1, help="Faults, one after another.")] = 200,
    seed: Annotated[int, typer.Option(help="The same seed gives the same faults.")] = 1,
    first: Annotated[int, typer.Option(min=0, help="Number of the first round, to see one again.")] = 0,
    faketime: Annotated[
        Path | None, typer.Option(help="libfaketimeMT.so.1, for wrong clocks. Default: where Debian installs it.")
    ] = None,
) -> None:
    """Injects random faults into the running stack, and checks its invariants. Exits with 1 on a violation."""
    console = Console(width=None if sys.stdout.isatty() else 160)
    found = next((Path(path) for path in FAKETIME if Path(path).is_file()), None)
    with exit_on_known_errors(console):
        failed = run(rounds, seed, first, faketime or found, console)
    raise typer.Exit(1 if failed else 0)


if __name__ == "__main__":
    typer.run(main)
