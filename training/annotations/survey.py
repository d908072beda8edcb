"""Where a project stands, counted from what is approved and from Label Studio's own counts of tasks."""

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
from training.annotations.truth import garment_labels

# The score below which a prediction is doubtful.
DOUBTFUL_BELOW = 0.5
# For so long a survey compares annotations with what was shown: other counts wait behind it.
PATIENCE_S = 20.0
IOU_DIGITS = 4
# As Label Studio's page shows times.
SECONDS_DIGITS = 1

# The origin of an image's annotation, its day (None where it is not known), and the seconds that it took, if known.
_Made = tuple[Origin, str | None, float | None]


def take_survey(
    settings: Settings, label_studio: LabelStudio, project: Project, count: Count, *, new: int, needed: int
) -> Survey:
    """A survey of what was counted just now.

    Args:
        new, needed: as `training.jobs.check_approvals` has them.

    Raises:
        LabelConfigError: the project has none that garments could be drawn under.
        LabelStudioError: Label Studio is away.
        OSError: what was compared cannot be kept.
    """
    config = parse_label_config(project.label_config)
    kept = CorrectionCache(settings.data_dir / "approvals" / f"{project.id}.corrections.json", config)
    compared, left = kept.of(count.approved, patience_s=PATIENCE_S)
    tasks = label_studio.task_counts(project.id, doubtful_below=DOUBTFUL_BELOW)
    return survey_of(project.title, count, config, tasks, compared, left=left, new=new, needed=needed)


def survey_of(
    title: str,
    count: Count,
    config: LabelConfig,
    tasks: TaskCounts,
    compared: Sequence[Correction],
    *,
    left: int,
    new: int,
    needed: int,
) -> Survey:
    """Puts together what was asked for; see `Survey`."""
    by_people = [one for one in count.approved if one.by_person]
    made = [*map(_made, by_people), *_accepted(count.accepted)]
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
        instances=instances(by_people, config),
        work=tuple(work_by_day(made)),
        totals=tuple(work_in_all(made)),
        corrections=corrections(compared, left=left),
    )


def instances(approved: Iterable[Approved], config: LabelConfig) -> dict[str, int]:
    """How many garments of each label of the config are approved, none included; by regions alone."""
    found = Counter(label for one in approved for label in garment_labels(one.result, config))
    return {label: found[label] for label in config.label_values}


def work_by_day(made: Iterable[_Made]) -> list[Work]:
    """The work of each day and origin, by day; without what was made nobody knows when."""
    groups: defaultdict[tuple[str, Origin], list[float | None]] = defaultdict(list)
    for origin, day, seconds in made:
        if day is not None:
            groups[day, origin].append(seconds)
    return [_work(day, origin, seconds) for (day, origin), seconds in sorted(groups.items())]


def work_in_all(made: Iterable[_Made]) -> list[Work]:
    """The work of each origin, by its name."""
    groups: defaultdict[Origin, list[float | None]] = defaultdict(list)
    for origin, _, seconds in made:
        groups[origin].append(seconds)
    return [_work(None, origin, seconds) for origin, seconds in sorted(groups.items())]


def corrections(compared: Sequence[Correction], *, left: int) -> Corrections:
    """All of them together."""
    ious = [iou for one in compared for iou in one.ious]
    return Corrections(
        shown=len(compared),
        unchanged=sum(one.unchanged for one in compared),
        garments=len(ious),
        mean_iou=round(statistics.fmean(ious), IOU_DIGITS) if ious else None,
        median_iou=round(statistics.median(ious), IOU_DIGITS) if ious else None,
        left=left,
    )


def _work(day: str | None, origin: Origin, seconds: Sequence[float | None]) -> Work:
    known = [one for one in seconds if one is not None]
    median_s = round(statistics.median(known), SECONDS_DIGITS) if known else None
    return Work(day, origin, images=len(seconds), timed=len(known), median_s=median_s)


def _made(one: Approved) -> _Made:
    return "prediction" if one.from_prediction else "scratch", _day(one.made_at), one.lead_time_s


def _accepted(times: Mapping[str, str]) -> list[_Made]:
    return [("accepted", _day(at), None) for at in times.values()]


def _day(at: str) -> str | None:
    """The day of a time of Label Studio's, ISO 8601, UTC; None where it is none."""
    try:
        # Python 3.10 reads no 'Z'.
        return datetime.fromisoformat(at.replace("Z", "+00:00")).astimezone(timezone.utc).date().isoformat()
    except ValueError:
        return None
