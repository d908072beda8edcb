"""What is approved, asked cheaply: Label Studio tells what changed since the last time, now and then everything.

What is kept between counts is a copy that can be lost: then all is asked for.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from backend.connections import Connections
from backend.label_studio.client import LabelStudio
from backend.settings import Settings
from backend.storage.atomic_files import write_whole
from training.annotations.approvals import Approved, accepted_alone, approved_annotations, rule_of

logger = logging.getLogger(__name__)

# What was written while the last count read: seen again, rather than never.
OVERLAP = timedelta(seconds=10)
# As Label Studio's filters read a time.
TIME = "%Y-%m-%dT%H:%M:%S.%fZ"


@dataclass(frozen=True)
class Count:
    """What was approved when it was counted.

    Attributes:
        settings: those that say what counts as approved; under others it is counted anew.
        latest: when each task was changed, as ISO 8601, that was changed last or not long before; by task id.
        accepted: when the service accepted each task that it alone has annotated, as ISO 8601; by task id.
        annotated: tasks that have annotations other than skips, approved or not.
    """

    settings: tuple[str, ...]
    latest: dict[str, str]
    approved: tuple[Approved, ...]
    accepted: dict[str, str]
    annotated: tuple[int, ...]


# A copy from before something was counted lacks it, and is no `Count`.
_JSON = TypeAdapter(Count)


class Counting:
    """The counts of one project, the last of which is kept in a file."""

    def __init__(self, settings: Settings, label_studio: LabelStudio, project_id: int) -> None:
        self._settings = settings
        self._label_studio = label_studio
        self._project_id = project_id
        self._path = settings.data_dir / "approvals" / f"{project_id}.json"
        self._rule = (settings.approval, settings.approval_choice, str(settings.train_on_auto_accepted))

    def everything(self) -> Count:
        """All that is approved, by Label Studio's whole record.

        Raises:
            LabelStudioError: Label Studio is away.
        """
        tasks = self._label_studio.annotated_tasks(self._project_id)
        return self._keep(self._approved_in(tasks), accepted_alone(tasks), _times(tasks), _annotated(tasks))

    def changes(self) -> Count:
        """All that is approved, by what changed since the last count.

        Raises:
            LabelStudioError: Label Studio is away.
        """
        last = _read(self._path)
        if last is None or last.settings != self._rule or not last.latest:
            return self.everything()
        since = (max(map(datetime.fromisoformat, last.latest.values())) - OVERLAP).strftime(TIME)
        changed = self._label_studio.changed_tasks(self._project_id, since=since)
        news = {task_id for task_id, time in changed.items() if last.latest.get(str(task_id)) != time}
        tasks = self._label_studio.annotated_tasks(self._project_id, among=sorted(news))
        annotated = (set(last.annotated) - news) | _annotated(tasks)
        if len(annotated) > self._label_studio.count_annotated(self._project_id):
            # Some were deleted, or lost their annotations.
            annotated &= set(self._label_studio.annotated_task_ids(self._project_id))
        kept = [one for one in last.approved if one.task_id in annotated - news]
        approved = [one for one in self._approved_in(tasks) if one.task_id in annotated]
        accepted = {task_id: at for task_id, at in last.accepted.items() if int(task_id) in annotated - news}
        times = last.latest | {str(task_id): time for task_id, time in changed.items()} | _times(tasks)
        return self._keep(
            sorted([*kept, *approved], key=lambda one: one.task_id), accepted | accepted_alone(tasks), times, annotated
        )

    def _approved_in(self, tasks: Sequence[Mapping[str, Any]]) -> list[Approved]:
        return approved_annotations(
            tasks, rule=rule_of(self._settings), with_auto_accepted=self._settings.train_on_auto_accepted
        )

    def _keep(
        self, approved: list[Approved], accepted: dict[str, str], times: Mapping[str, str], annotated: set[int]
    ) -> Count:
        last = max(map(datetime.fromisoformat, times.values()), default=None)
        latest = {
            task_id: time for task_id, time in times.items() if last and datetime.fromisoformat(time) >= last - OVERLAP
        }
        count = Count(self._rule, latest, tuple(approved), accepted, tuple(sorted(annotated)))
        # Not `asdict`, which copies every point of every outline.
        facts = {**vars(count), "approved": [vars(one) for one in approved]}
        write_whole(self._path, json.dumps(facts))
        return count


def counting_of(connections: Connections, project_id: int) -> Counting:
    """Counts what is approved in a project."""
    return Counting(connections.settings, connections.label_studio, project_id)


def _annotated(tasks: Sequence[Mapping[str, Any]]) -> set[int]:
    """Tasks with annotations other than skips."""
    return {
        int(task["id"]) for task in tasks if any(not one.get("was_cancelled") for one in task.get("annotations") or [])
    }


def _times(tasks: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    # Python 3.10 reads no 'Z'.
    return {
        str(task["id"]): datetime.fromisoformat(str(task["updated_at"]).replace("Z", "+00:00")).isoformat()
        for task in tasks
    }


def _read(path: Path) -> Count | None:
    try:
        return _JSON.validate_python(json.loads(path.read_text()))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as e:
        logger.warning("%s cannot be read, and all is counted anew: %s", path, e)
        return None
