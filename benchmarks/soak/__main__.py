"""A quarter of an hour of work for the whole stack: `make soak`.

`drape up` runs in a folder of its own, with a stock Label Studio, over drawn figures and the demo's model. Annotators
open tasks, click on garments (most through Label Studio, as its page does, some at the backend itself), submit what was
drawn, and thereby start trainings; images are imported meanwhile, webhooks are told on the side. Every click's answer
is the one that the same service gave before anybody else asked, or a predicted region that the click fixed. In the end
everything must add up; then comes ten times as much, of which the most must be refused, and the service must be itself
again.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import psutil
import typer
from rich.console import Console

from backend.domain import LabelledMask
from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import parse_label_config
from backend.queues.queues import Queues
from backend.regions.decode import decode
from backend.registry.registry import Registry
from backend.settings import Settings
from backend.storage.atomic_files import write_atomically
from backend.telemetry.problems import Problems
from benchmarks.command import exit_on_known_errors
from benchmarks.invariants import Invariants
from benchmarks.services import stack_settings, watched
from benchmarks.soak.hooks import sending_webhooks
from benchmarks.soak.load import GARMENTS_CLICKED, Click, Load, Site, context_of, polygons
from benchmarks.soak.overload import Overload, overload
from benchmarks.soak.report import (
    SETTLED_S,
    Report,
    latency_of,
    memory_of,
    memory_table,
    plot,
    sentences,
    table,
)
from label_studio_config.demo.figures import draw_figure
from launcher.stack.stack import Options, Ready, Stack
from launcher.stack.supervisor import free_port
from training.metrics.interactive import iou

FIGURES = 40
IMPORT_AT_ONCE = 50
IMAGE_SIZE_PX = 256
CHECK_EVERY_S = 60
MEMORY_EVERY_S = 5.0
HOOK_EVERY_S = 0.5
IDLE_TIMEOUT_S = 900.0
# Of that many people who click without a pause.
OVERLOAD_FACTOR = 10
OVERLOAD_S = 30.0


@dataclass(frozen=True)
class Size:
    """The size of a soak."""

    minutes: float
    annotators: int
    imports: int
    pause_s: float
    retrain_after: int
    overload_s: float


def settings_for(size: Size, folder: Path) -> Settings:
    """Returns the settings of the stack."""
    return stack_settings(
        folder,
        device="cpu",
        retrain_after=size.retrain_after,
        retrain_min_images=size.retrain_after,
        check_every_s=CHECK_EVERY_S,
        train_epochs=2,
        train_image_size_px=IMAGE_SIZE_PX,
        promote_margin=-1,
        promote_class_drop=1,
    )


def inspect_site(ready: Ready) -> tuple[Site, list[tuple[int, int]]]:
    """Where everything runs, and the project's tasks with the seeds of their figures."""
    settings, studio = ready.settings, LabelStudio(ready.settings)
    project = studio.project(ready.project_id)
    with studio.api() as sdk:
        (model,) = sdk.ml.list(project=ready.project_id)
    tasks, images = [], {}
    for task in studio.tasks(ready.project_id, studio.task_ids(ready.project_id)):
        stem = Path(task["data"]["image"]).stem
        if stem.startswith("figure_"):
            seed = int(stem.removeprefix("figure_"))
            tasks.append((int(task["id"]), seed))
            images[seed] = task["data"]["image"]
    site = Site(
        studio,
        ready.studio_url,
        ready.backend_url,
        (settings.basic_auth_user, settings.basic_auth_pass),
        settings.webhook_secret,
        ready.project_id,
        int(model.id or 0),
        parse_label_config(project.label_config),
        project.label_config,
        images,
    )
    return site, tasks


def truth_of(seed: int) -> tuple[LabelledMask, ...]:
    """The garments as they are drawn."""
    return tuple(
        LabelledMask(instance.mask, instance.label) for instance in draw_figure(seed).instances if instance.mask.any()
    )


def baseline_clicks(
    site: Site, truth: Mapping[int, Sequence[LabelledMask]]
) -> tuple[dict[int, list[Click]], list[float], list[float]]:
    """What the service answers to each click while nothing else is asked; with milliseconds, and IoU with the truth."""
    clicks: dict[int, list[Click]] = {}
    taken_ms, ious = [], []
    with site.client() as client:
        for seed, garments in truth.items():
            largest = sorted(garments, key=lambda garment: -int(garment.mask.sum()))[:GARMENTS_CLICKED]
            for garment in largest:
                context = context_of(garment, seed=seed)
                began = time.monotonic()
                answer = client.post(
                    f"{site.backend_url}/predict", json=site.predict_body(seed, context), auth=site.auth
                )
                taken_ms.append(1000 * (time.monotonic() - began))
                result = answer.raise_for_status().json()["results"][0]["result"]
                outlines = polygons(result)
                if not outlines:
                    continue
                found = np.logical_or.reduce([region.mask for region in decode(result)[0]])
                ious.append(iou(found, garment.mask))
                clicks.setdefault(seed, []).append(Click(context, outlines))
    return clicks, taken_ms, ious


def run(size: Size, console: Console) -> Report:
    """Starts the stack, runs the load and the overload, and checks the invariants.

    Raises:
        DrapeError, LauncherError: something does not start.
    """
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as name:
        settings = settings_for(size, Path(name) / "data")
        options = Options(studio_port=free_port(), redis_port=free_port(), figures=FIGURES)
        console.print("Starting Redis, Label Studio, the backend and its workers …")
        stack = Stack(settings, options)
        with stack.running() as ready, watched(stack):
            return _soak(size, stack, ready, console)


def _soak(size: Size, stack: Stack, ready: Ready, console: Console) -> Report:
    invariants = Invariants(ready.settings, ready.project_id)
    console.print("Waiting until the first images are pre-annotated …")
    invariants.wait_until_idle(timeout_s=IDLE_TIMEOUT_S)
    site, tasks = inspect_site(ready)
    truth = {seed: truth_of(seed) for _, seed in tasks}
    clicks, idle_ms, ious = baseline_clicks(site, truth)
    idle_click_ms = float(np.median(idle_ms))
    console.print(f"An idle click takes {idle_click_ms:.0f} ms. {size.annotators} annotators begin.")

    load = Load(site, clicks, truth, ready.settings.outlining)
    load.add_tasks([(task_id, seed) for task_id, seed in tasks if seed in clicks])
    for number in range(size.annotators):
        load.start(load.annotate, number, size.pause_s)
    pieces = max(size.imports // IMPORT_AT_ONCE, 1)
    # The last ones are pre-annotated while people still work.
    load.start(load.import_tasks, IMPORT_AT_ONCE, 0.8 * 60 * size.minutes / pieces, pieces * IMPORT_AT_ONCE)
    load.start(load.measure_memory, stack.processes, MEMORY_EVERY_S)
    measured = load.measured
    ends_at = time.monotonic() + 60 * size.minutes
    with sending_webhooks(site.backend_url, secret=site.secret, event=site.event(), every_s=HOOK_EVERY_S) as webhooks:
        while time.monotonic() < ends_at:
            time.sleep(min(30.0, max(ends_at - time.monotonic(), 0)))
            console.print(
                f"{(time.monotonic() - measured.started) / 60:.1f} min: {len(measured.submitted)} submitted, "
                f"{len(measured.imported)} imported, {measured.right} clicks right, {len(measured.wrong)} wrong, "
                f"{len(measured.errors)} errors"
            )
    load.stop()
    for what, pairs in (("webhook", webhooks.taken_ms), ("webhook, where nothing is done", webhooks.baseline_ms)):
        if pairs:
            measured.latency_ms[what] = [(at_s - measured.started, taken_ms) for at_s, taken_ms in pairs]
    measured.errors += webhooks.errors
    overload_result = None
    if size.overload_s:
        console.print(f"Overload: {OVERLOAD_FACTOR * size.annotators} ask at once …")
        overload_result = overload(
            site, clicks, at_once=OVERLOAD_FACTOR * size.annotators, seconds=size.overload_s, idle_ms=idle_click_ms
        )
    # What was measured so far is shown before the rest of the work is waited for, which takes minutes.
    show(_report(size, ready, load, idle_click_ms, ious, [], overload_result), console)
    console.print("Waiting until all jobs are done …")
    is_idle = _wait_until_settled(ready, invariants)
    broken = [] if is_idle else ["Jobs still waited or ran after a quarter of an hour."]
    broken += invariants.violations(load.measured.submitted)
    missing = set(load.measured.imported) - set(site.studio.task_ids(ready.project_id))
    broken += [f"{len(missing)} imported tasks are missing."] if missing else []
    return _report(size, ready, load, idle_click_ms, ious, broken, overload_result)


def _wait_until_settled(ready: Ready, invariants: Invariants) -> bool:
    """Waits until no job is open, also after the checks that the timer runs."""
    queues = Queues(ready.settings)
    for _ in range(2):
        queues.enqueue_check(ready.project_id)
        queues.enqueue_plan(ready.project_id)
        if not invariants.wait_until_idle(timeout_s=IDLE_TIMEOUT_S):
            return False
    return True


def _report(
    size: Size,
    ready: Ready,
    load: Load,
    idle_click_ms: float,
    ious: Sequence[float],
    broken: list[str],
    overload_result: Overload | None,
) -> Report:
    measured = load.measured
    settled_s = min(SETTLED_S, 60 * size.minutes / 3)
    problems = [problem.text for problem in Problems(Queues(ready.settings).redis).recent(100)]
    return Report(
        machine=f"{os.cpu_count()} cores, {psutil.virtual_memory().total / 1e9:.0f} GB",
        annotators=size.annotators,
        minutes=size.minutes,
        idle_click_ms=idle_click_ms,
        idle_click_iou=float(np.median(ious)),
        taken={what: latency_of(pairs) for what, pairs in sorted(measured.latency_ms.items())},
        memory={name: memory_of(pairs, settled_after_s=settled_s) for name, pairs in measured.memory_mb.items()},
        load_average=float(np.median([load for _, load in measured.load_average])),
        submitted=len(measured.submitted),
        imported=len(measured.imported),
        trainings=sum(
            version.origin == "training" for version in Registry.of(ready.settings).versions(ready.project_id)
        ),
        clicks_right=measured.right,
        clicks_wrong=measured.wrong,
        errors=measured.errors,
        broken=broken,
        problems=problems,
        overload=overload_result,
        settled_after_s=settled_s,
        memory_mb=measured.memory_mb,
        latency_ms=measured.latency_ms,
    )


def show(report: Report, console: Console) -> None:
    """Prints the tables and sentences of the report."""
    console.print(table(report))
    console.print(memory_table(report))
    for line in sentences(report):
        console.print(line, markup=False, highlight=False, soft_wrap=True)


def main(
    minutes: Annotated[float, typer.Option(min=0.5, help="How long annotators work.")] = 15.0,
    annotators: Annotated[int, typer.Option(min=1, help="How many of them at once.")] = 30,
    imports: Annotated[int, typer.Option(min=0, help="Tasks that are imported meanwhile.")] = 2000,
    pause: Annotated[float, typer.Option(min=0.1, help="Seconds between two things that one does, mean.")] = 8.0,
    retrain_after: Annotated[int, typer.Option(min=2, help="Submitted images that start a training.")] = 100,
    overload_s: Annotated[float, typer.Option(min=0, help="Seconds of overload in the end; 0 for none.")] = OVERLOAD_S,
    into: Annotated[Path, typer.Option(help="The JSON file that is written, the plot beside it.")] = Path(
        "var/soak.json"
    ),
) -> None:
    """Runs the whole stack under load, and prints a report. Best alone on the machine."""
    logging.getLogger("httpx").setLevel(logging.WARNING)
    console = Console(width=None if sys.stdout.isatty() else 140)
    with exit_on_known_errors(console):
        report = run(Size(minutes, annotators, imports, pause, retrain_after, overload_s), console)
    write_atomically(into, json.dumps(asdict(report), indent=1) + "\n")
    plot(report.latency_ms, report.memory_mb, into.with_suffix(".png"))
    show(report, console)
    console.print(f"Written to {into} and {into.with_suffix('.png')}.")
    if report.broken or report.clicks_wrong:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
