"""Computes a project's survey from its approved annotations and from Label Studio's counts of tasks."""

from __future__ import annotations

import statistics
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timezone

from backend.label_studio.client import LabelStudio, Project, TaskCounts
from backend.label_studio.label_config import LabelConfig, parse_label_config
from backend.settings import Settings
from backend.status.survey import Corrections, Origin, Survey, Work
from training.annotations.approvals import Approved
from training.annotations.corrections import Correction, CorrectionCache
from training.annotations.count import Count
from training.annotations.label_cache import cached_labels

# A prediction with a lower score is doubtful.
DOUBTFUL_BELOW = 0.5
# The most seconds that a survey compares annotations with predictions: other counts wait in the same queue.
COMPARE_TIMEOUT_S = 20.0
IOU_DIGITS = 4
# Label Studio's page shows times with this many digits.
SECONDS_DIGITS = 1

# The origin of an annotation, its day, and the seconds that it took; None for an unknown day or time.
_AnnotationWork = tuple[Origin, str | None, float | None]


def take_survey(
    settings: Settings, label_studio: LabelStudio, project: Project, count: Count, *, new: int, needed: int
) -> Survey:
    """Computes the survey for a count that was just made.

    Args:
        new, needed: as `training.jobs.check_approvals` returns them.

    Raises:
        LabelConfigError: the project's label config has no label to draw garments with.
        LabelStudioError: Label Studio is unreachable, or refuses the request.
        OSError: the corrections cannot be written to their file.
    """
    config = parse_label_config(project.label_config)
    cache = CorrectionCache(settings.data_dir / "approvals" / f"{project.id}.corrections.json", config)
    compared, left = cache.corrections(count.approved, timeout_s=COMPARE_TIMEOUT_S)
    by_people = (annotation for annotation in count.approved if annotation.by_person)
    labels = cached_labels(by_people, config, settings.data_dir / "approvals" / f"{project.id}.labels.json")
    tasks = label_studio.task_counts(project.id, doubtful_below=DOUBTFUL_BELOW)
    return survey_of(project.title, count, config, tasks, compared, labels, left=left, new=new, needed=needed)


def survey_of(
    title: str,
    count: Count,
    config: LabelConfig,
    tasks: TaskCounts,
    compared: Sequence[Correction],
    labels: Iterable[Iterable[str]],
    *,
    left: int,
    new: int,
    needed: int,
) -> Survey:
    """Assembles the survey from its parts; see `Survey`.

    Args:
        labels: the labels of the garments that each person's approved annotation has.
    """
    by_people = [annotation for annotation in count.approved if annotation.by_person]
    annotations = [*map(_annotation_work, by_people), *_accepted(count.accepted)]
    return Survey(
        at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        title=title,
        images=tasks.images,
        predicted=tasks.predicted,
        approved=len(by_people),
        auto_accepted=len(count.accepted),
        waiting=tasks.waiting,
        doubtful=tasks.doubtful,
        new=new,
        needed=needed,
        instances=instances(labels, config),
        work=tuple(work_by_day(annotations)),
        totals=tuple(work_in_total(annotations)),
        corrections=corrections(compared, left=left),
    )


def instances(labels: Iterable[Iterable[str]], config: LabelConfig) -> dict[str, int]:
    """Counts the garments of each label of the config, zeros included, in the labels of each annotation's garments."""
    counts = Counter(label for of_annotation in labels for label in of_annotation)
    return {label: counts[label] for label in config.label_values}


def work_by_day(annotations: Iterable[_AnnotationWork]) -> list[Work]:
    """Returns the work of each day and origin, sorted by day; annotations without a day are left out."""
    groups: defaultdict[tuple[str, Origin], list[float | None]] = defaultdict(list)
    for origin, day, seconds in annotations:
        if day is not None:
            groups[day, origin].append(seconds)
    return [_work(day, origin, seconds) for (day, origin), seconds in sorted(groups.items())]


def work_in_total(annotations: Iterable[_AnnotationWork]) -> list[Work]:
    """Returns the work of each origin over all days, sorted by the origin's name."""
    groups: defaultdict[Origin, list[float | None]] = defaultdict(list)
    for origin, _, seconds in annotations:
        groups[origin].append(seconds)
    return [_work(None, origin, seconds) for origin, seconds in sorted(groups.items())]


def corrections(compared: Sequence[Correction], *, left: int) -> Corrections:
    """Summarizes the corrections of all annotations."""
    ious = [iou for correction in compared for iou in correction.ious]
    return Corrections(
        shown=len(compared),
        unchanged=sum(correction.unchanged for correction in compared),
        garments=len(ious),
        mean_iou=round(statistics.fmean(ious), IOU_DIGITS) if ious else None,
        median_iou=round(statistics.median(ious), IOU_DIGITS) if ious else None,
        left=left,
    )


def _work(day: str | None, origin: Origin, seconds: Sequence[float | None]) -> Work:
    timed = [value for value in seconds if value is not None]
    median_s = round(statistics.median(timed), SECONDS_DIGITS) if timed else None
    return Work(day, origin, images=len(seconds), timed=len(timed), median_s=median_s)


def _annotation_work(annotation: Approved) -> _AnnotationWork:
    return "prediction" if annotation.from_prediction else "scratch", _day(annotation.made_at), annotation.lead_time_s


def _accepted(times: Mapping[str, str]) -> list[_AnnotationWork]:
    return [("accepted", _day(at), None) for at in times.values()]


def _day(at: str) -> str | None:
    """Returns the UTC day of a time that Label Studio reports, both ISO 8601; None if it is no valid time."""
    try:
        # Python 3.10's `fromisoformat` does not accept 'Z'.
        return datetime.fromisoformat(at.replace("Z", "+00:00")).astimezone(timezone.utc).date().isoformat()
    except ValueError:
        return None
