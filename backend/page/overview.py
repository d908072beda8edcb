"""Gathers what the status page shows of one project, from Redis and from the files beside the models' weights."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from redis.exceptions import RedisError

from backend.auto_accept.gate import closed_reason
from backend.compute.devices import pick_device
from backend.detector.preparation import RUNTIMES, read_preparation
from backend.errors import DrapeError, QueueError, SettingsError
from backend.queues.comparisons import is_comparison
from backend.queues.queues import PRELABEL, TRAIN
from backend.registry.records import has_report
from backend.registry.registry import Version
from backend.registry.scores import read_scores
from backend.registry.verdict import Verdict, read_verdict
from backend.service import Service
from backend.settings import Settings
from backend.status.survey import Survey
from backend.telemetry.metrics import Latency
from backend.telemetry.problems import Problem

# Approved garments per label that people who train such models recommend: the minimum, and a good number.
MIN_GARMENTS, GOOD_GARMENTS = 2000, 5000
MAX_PROBLEMS = 10


@dataclass(frozen=True)
class LabelRow:
    """One label: its garments that people approved, and the current model's mask mAP50-95 on held-out images.

    Attributes:
        change: difference to the champion that the model was compared with; None where either has no mask mAP.
    """

    name: str
    instances: int
    mask_map: float | None = None
    change: float | None = None


@dataclass(frozen=True)
class Model:
    """One version with its verdict; `has_report` tells whether its report is stored."""

    version: Version
    verdict: Verdict | None
    is_current: bool
    has_report: bool


@dataclass(frozen=True)
class Training:
    """A running training; `epochs` is 0 until the first epoch is reported.

    Attributes:
        curve: mask mAP after each epoch so far.
    """

    epoch: int
    epochs: int
    seconds_left: float | None
    curve: tuple[float, ...]


@dataclass(frozen=True)
class Jobs:
    """The jobs in Redis, and the workers.

    Attributes:
        left: number of the project's images that wait for the model.
        minutes_left: estimate from the present pace; None where no image waits or none is predicted.
        waiting, all_failed: queue → number of waiting jobs, and of failed jobs of the last week, of all projects.
        workers: each worker's queues and state, as text.
        failed: a sentence on each of the project's failed jobs, if it is among the newest of its queue.
    """

    training: Training | None
    training_waits: bool
    left: int
    images_a_minute: float
    minutes_left: float | None
    waiting: dict[str, int]
    all_failed: dict[str, int]
    workers: tuple[str, ...]
    failed: tuple[str, ...]


@dataclass(frozen=True)
class Serving:
    """The models that answer, their devices, and their speed; `hits` of `lookups` found a cached embedding."""

    segmenter: str
    detector: str
    clicks: Latency | None
    lookups: int
    hits: int


@dataclass(frozen=True)
class Overview:
    """Everything on the page.

    Attributes:
        projects: project id → title, of every project that has a survey or a model, and that Label Studio has.
        survey: None until a worker has counted the project, and while Redis does not answer.
        jobs: None while Redis does not answer.
        own_settings: the project's own settings, `NAME=value` each, or the error in them.
        shut_because: why nothing is accepted without a person although the settings ask for it; else ''.
    """

    project_id: int | None
    projects: dict[int, str]
    survey: Survey | None
    labels: tuple[LabelRow, ...]
    models: tuple[Model, ...]
    jobs: Jobs | None
    serving: Serving
    problems: tuple[Problem, ...]
    tasks_url: str
    own_settings: tuple[str, ...] = ()
    shut_because: str = ""

    @property
    def current(self) -> Model | None:
        """The model that pre-annotates."""
        return next((model for model in self.models if model.is_current), None)


def overview(service: Service, project_id: int | None) -> Overview:
    """Gathers the page's content; `project_id` None, or one that Label Studio no longer has, stands for the first."""
    surveys, gone = service.project_status.latest_surveys(), service.project_status.gone()
    numbers = sorted({*surveys, *service.connections.registry.project_ids()} - gone)
    projects = {number: surveys[number].title if number in surveys else f"Project {number}" for number in numbers}
    if project_id is None or project_id in gone:
        project_id = next(iter(projects), None)
    survey = surveys.get(project_id) if project_id is not None else None
    models = _models(service, project_id) if project_id is not None else ()
    problems = [
        problem for problem in service.connections.problems.recent(100) if problem.project_id in (None, project_id)
    ]
    return Overview(
        project_id=project_id,
        projects=projects,
        survey=survey,
        labels=_labels(survey, next((model.version for model in models if model.is_current), None)),
        models=models,
        jobs=_jobs(service, project_id),
        serving=_serving(service, project_id),
        problems=tuple(problems[:MAX_PROBLEMS]),
        tasks_url=service.connections.settings.tasks_url(project_id) if project_id else "",
        own_settings=_own_settings(service, project_id),
        shut_because=_shut_because(service, project_id),
    )


def _own_settings(service: Service, project_id: int | None) -> tuple[str, ...]:
    try:
        _, own = service.project_status.own_settings(project_id)
    except SettingsError as e:
        return (str(e),)
    return tuple(f"{name.upper()}={own[name]}" for name in sorted(own))


def _shut_because(service: Service, project_id: int | None) -> str:
    champion = service.connections.registry.champion(project_id) if project_id is not None else None
    try:
        settings, _ = service.project_status.own_settings(project_id)
    except SettingsError:
        return ""
    return "" if champion is None or settings.auto_accept == "off" else closed_reason(champion, settings) or ""


def _models(service: Service, project_id: int) -> tuple[Model, ...]:
    champion = service.connections.registry.champion(project_id)
    return tuple(
        Model(version, read_verdict(version), version == champion, has_report(version))
        for version in reversed(service.connections.registry.versions(project_id))
    )


def _labels(survey: Survey | None, current: Version | None) -> tuple[LabelRow, ...]:
    """The labels of the label config, in its order, then any other labels that the model was evaluated on."""
    scores = read_scores(current) if current else None
    own = {label.label: label.mask_map for label in scores.own.labels} if scores else {}
    before = {label.label: label.mask_map for label in scores.champion.labels} if scores and scores.champion else {}
    instances = survey.instances if survey else {}
    return tuple(
        LabelRow(name, instances.get(name, 0), own.get(name), _difference(own.get(name), before.get(name)))
        for name in dict.fromkeys([*instances, *own])
    )


def _difference(now: float | None, before: float | None) -> float | None:
    return None if now is None or before is None else now - before


def _jobs(service: Service, project_id: int | None) -> Jobs | None:
    try:
        state, pace = service.project_status.jobs()
        training_waits = project_id is not None and service.connections.queues.has_training(project_id)
    except (QueueError, RedisError):
        return None
    project_jobs = [job for job in state["running"] if job["project"] == project_id]
    left = int(state["tasks_to_prelabel"].get(str(project_id), 0))
    return Jobs(
        training=next(
            (
                _training(job["progress"])
                for job in project_jobs
                if job["queue"] == TRAIN and not is_comparison(job["id"])
            ),
            None,
        ),
        training_waits=training_waits,
        left=left,
        images_a_minute=pace,
        minutes_left=left / pace if left and pace else None,
        waiting=state["waiting"],
        all_failed=state["failed_jobs"],
        workers=tuple(f"{', '.join(worker['queues'])}: {worker['state']}" for worker in state["workers"]),
        failed=tuple(
            f"{_NAMES.get(job['queue'], job['queue'])}: {job.get('reason', 'failed without a reason')}"
            for job in state["failed"]
            if job["project"] == project_id
        ),
    )


_NAMES = {TRAIN: "Training", PRELABEL: "Pre-annotation"}


def _training(progress: dict[str, Any]) -> Training:
    return Training(
        epoch=int(progress.get("epoch", 0)),
        epochs=int(progress.get("epochs", 0)),
        seconds_left=progress.get("seconds_left"),
        curve=tuple(progress.get("curve", ())),
    )


def _serving(service: Service, project_id: int | None) -> Serving:
    lookups = service.metrics.embedding_lookups_by_outcome()
    lookup_count = sum(lookups.values())
    return Serving(
        segmenter=_segmenter(service),
        detector=_detector(service, project_id),
        clicks=service.metrics.latency("interactive"),
        lookups=lookup_count,
        hits=lookup_count - lookups.get("miss", 0),
    )


def _segmenter(service: Service) -> str:
    segmenter = service.segmenter
    if segmenter.name == "builtin":
        answering = "builtin (comes with Drape), on the CPU"
    elif segmenter.ready is None:
        answering = segmenter.name
    else:
        answering = f"{segmenter.name}, on {_device(service.connections.settings)}"
    download = segmenter.download
    return f"{answering}. {download}" if download else answering


def _detector(service: Service, project_id: int | None) -> str:
    champion = service.connections.registry.champion(project_id) if project_id is not None else None
    if champion is None:
        return "SAM 3, by words" if service.connections.settings.may_read_words else "none yet"
    # The workers' device: they run the detector, except for `/predict`.
    device, preparation = _device(service.connections.settings.for_work("batch")), read_preparation(champion)
    if champion.network != "yolo":
        return f"{champion.name}, {RUNTIMES['f32']} on cpu"
    runtime = preparation.runtime if preparation and device == "cpu" else "torch"
    return f"{champion.name}, {runtime} on {device}"


def _device(settings: Settings) -> str:
    try:
        return pick_device(settings.device)
    except (DrapeError, RuntimeError) as e:
        return f"no device ({e})"
