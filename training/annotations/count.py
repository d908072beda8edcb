"""Counts approved annotations cheaply: asks Label Studio only for what changed since the last count.

A file stores the last count, and a file for each annotation its regions. If one is missing or empty, and once a day,
everything is counted again.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta, timezone
from functools import cached_property
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from backend.connections import Connections
from backend.label_studio.client import PAGE_EXPORTED, LabelStudio
from backend.settings import Settings
from backend.storage.atomic_files import write_atomically
from training.annotations.approvals import (
    Approved,
    accepting_choices,
    approved_annotations,
    auto_accepted_times,
    rule_of,
)
from training.annotations.stored_regions import ApprovedFacts, StoredRegions, store_regions

logger = logging.getLogger(__name__)

# Changes this close to the newest one are read again: they may have been written while the last count read.
OVERLAP = timedelta(seconds=10)
# After this everything is counted again: Label Studio notes in a task every change of its annotations, but a program
# that writes into its database need not. Ten thousand images take minutes of its time.
RECOUNT_AFTER = timedelta(days=1)
# Files that no annotation has are kept for so long after the last count of everything that found them in use: whoever
# began to read an earlier count, such as an evaluation or an export, has a day to end.
UNUSED_FOR = 2 * RECOUNT_AFTER


@dataclass(frozen=True)
class Count:
    """The result of a count of approved annotations.

    Attributes:
        settings: the settings that define what is approved; if they change, everything is counted again.
        latest: task id → time of its last change (ISO 8601), for changes up to `OVERLAP` before the newest one.
        accepted: task id → when the service accepted the task (ISO 8601), for tasks that no person has annotated.
        annotated: ids of tasks that have an annotation other than a skip, approved or not.
        recounted_at: when everything was counted the last time (ISO 8601).
    """

    settings: tuple[str, ...]
    latest: dict[str, str]
    approved: tuple[Approved, ...]
    accepted: dict[str, str]
    annotated: tuple[int, ...]
    recounted_at: str = field(compare=False)


@dataclass(frozen=True)
class _StoredCount:
    """A count as its file has it: see `Count`."""

    settings: tuple[str, ...]
    latest: dict[str, str]
    approved: tuple[ApprovedFacts, ...]
    accepted: dict[str, str]
    annotated: tuple[int, ...]
    recounted_at: str


# The file of an older release may lack a field: it fails validation, and everything is counted again.
_JSON = TypeAdapter(_StoredCount)


class ApprovalCounter:
    """Counts the approved annotations of one project; a file stores the last count."""

    def __init__(self, settings: Settings, label_studio: LabelStudio, project_id: int) -> None:
        self._settings = settings
        self._label_studio = label_studio
        self._project_id = project_id
        self._path = settings.data_dir / "approvals" / f"{project_id}.json"
        self._regions = settings.data_dir / "approvals" / f"{project_id}.regions"

    @cached_property
    def _choices(self) -> tuple[str, ...]:
        def label_config() -> str:
            return self._label_studio.project(self._project_id).label_config

        return tuple(sorted(accepting_choices(self._settings, label_config)))

    @property
    def _rule(self) -> tuple[str, ...]:
        settings = self._settings
        return (
            settings.approval,
            settings.approval_choice,
            str(settings.train_on_auto_accepted),
            *self._choices,
        )

    def recount(self) -> Count:
        """Counts all approved annotations, from all annotated tasks in Label Studio.

        Raises:
            LabelStudioError: Label Studio is unreachable, or refuses the request.
        """
        count = self._recount()
        used = {_file(annotation) for annotation in count.approved}
        now = _now()
        for path in self._regions.glob("*.json"):
            with suppress(FileNotFoundError):
                if path.name in used:
                    os.utime(path, (now.timestamp(), now.timestamp()))
                elif path.stat().st_mtime < (now - UNUSED_FOR).timestamp():
                    path.unlink()
        return count

    def _recount(self) -> Count:
        approved: list[Approved] = []
        accepted: dict[str, str] = {}
        times: dict[str, str] = {}
        annotated: set[int] = set()
        begun = _now().isoformat()
        ids = self._label_studio.annotated_task_ids(self._project_id)
        # A page at a time: the regions of all tasks would take gigabytes.
        for first in range(0, len(ids), PAGE_EXPORTED):
            tasks = self._label_studio.annotated_tasks(self._project_id, among=ids[first : first + PAGE_EXPORTED])
            approved += self._approved_in(tasks)
            accepted |= auto_accepted_times(tasks)
            times |= _times(tasks)
            annotated |= _annotated(tasks)
        return self._store(approved, accepted, times, annotated, recounted_at=begun)

    def update(self) -> Count:
        """Counts all approved annotations, from the last count and the tasks that changed since.

        Counts everything again if that was not done within `RECOUNT_AFTER`, or if the last count says nothing.

        Raises:
            LabelStudioError: Label Studio is unreachable, or refuses the request.
        """
        last = self._read()
        if last is None or last.settings != self._rule or not last.latest or not _is_recent(last.recounted_at):
            return self.recount()
        since = max(map(datetime.fromisoformat, last.latest.values())) - OVERLAP
        changed, annotated_tasks = self._label_studio.changed_tasks(self._project_id, since=since)
        changed_ids = {task_id for task_id, time in changed.items() if last.latest.get(str(task_id)) != time}
        tasks = self._label_studio.annotated_tasks(self._project_id, among=sorted(changed_ids))
        annotated = (set(last.annotated) - changed_ids) | _annotated(tasks)
        if len(annotated) > annotated_tasks:
            # Some tasks were deleted, or lost their annotations.
            annotated &= set(self._label_studio.annotated_task_ids(self._project_id))
        unchanged = [annotation for annotation in last.approved if annotation.task_id in annotated - changed_ids]
        approved = [annotation for annotation in self._approved_in(tasks) if annotation.task_id in annotated]
        accepted = {task_id: at for task_id, at in last.accepted.items() if int(task_id) in annotated - changed_ids}
        times = last.latest | {str(task_id): time for task_id, time in changed.items()} | _times(tasks)
        return self._store(
            sorted([*unchanged, *approved], key=lambda annotation: annotation.task_id),
            accepted | auto_accepted_times(tasks),
            times,
            annotated,
            recounted_at=last.recounted_at,
        )

    def _approved_in(self, tasks: Sequence[Mapping[str, Any]]) -> list[Approved]:
        approved = approved_annotations(
            tasks,
            rule=rule_of(self._settings, self._choices),
            with_auto_accepted=self._settings.train_on_auto_accepted,
        )
        return [store_regions(annotation, self._regions).restored(self._regions) for annotation in approved]

    def _store(
        self,
        approved: list[Approved],
        accepted: dict[str, str],
        times: Mapping[str, str],
        annotated: set[int],
        *,
        recounted_at: str,
    ) -> Count:
        last = max(map(datetime.fromisoformat, times.values()), default=None)
        latest = {
            task_id: time for task_id, time in times.items() if last and datetime.fromisoformat(time) >= last - OVERLAP
        }
        count = Count(self._rule, latest, tuple(approved), accepted, tuple(sorted(annotated)), recounted_at)
        facts = [vars(store_regions(annotation, self._regions)) for annotation in approved]
        write_atomically(self._path, json.dumps({**vars(count), "approved": facts}))
        return count

    def _read(self) -> Count | None:
        try:
            stored = _JSON.validate_python(json.loads(self._path.read_text()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as e:
            logger.warning("%s cannot be read. Everything is counted again: %s", self._path, e)
            return None
        if not all(_has_content(self._regions / facts.file) for facts in stored.approved):
            logger.warning("%s lacks files. Everything is counted again.", self._regions)
            return None
        return Count(**{**vars(stored), "approved": tuple(facts.restored(self._regions) for facts in stored.approved)})


def approval_counter(connections: Connections, project_id: int) -> ApprovalCounter:
    """Returns the `ApprovalCounter` of a project."""
    return ApprovalCounter(connections.settings, connections.label_studio, project_id)


def _now() -> datetime:
    return datetime.now(timezone.utc)


def _is_recent(time: str) -> bool:
    # A clock that was set back since makes the age negative.
    return timedelta(0) <= _now() - datetime.fromisoformat(time) < RECOUNT_AFTER


def _annotated(tasks: Sequence[Mapping[str, Any]]) -> set[int]:
    """Returns the ids of tasks that have an annotation other than a skip."""
    return {
        int(task["id"])
        for task in tasks
        if any(not annotation.get("was_cancelled") for annotation in task.get("annotations") or [])
    }


def _times(tasks: Sequence[Mapping[str, Any]]) -> dict[str, str]:
    # Python 3.10's `fromisoformat` does not accept 'Z'.
    return {
        str(task["id"]): datetime.fromisoformat(str(task["updated_at"]).replace("Z", "+00:00")).isoformat()
        for task in tasks
    }


def _has_content(file: Path) -> bool:
    """Whether a file is there; a crash of the machine may leave it empty."""
    try:
        return file.stat().st_size > 0
    except FileNotFoundError:
        return False


def _file(annotation: Approved) -> str:
    return annotation.result.path.name if isinstance(annotation.result, StoredRegions) else ""
