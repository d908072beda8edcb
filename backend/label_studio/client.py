"""The only client of Label Studio, built on its SDK: reads projects and tasks, writes predictions and annotations."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

from label_studio_sdk import PredictionRequest
from label_studio_sdk.core.api_error import ApiError
from label_studio_sdk.core.request_options import RequestOptions

from backend.domain import Prediction
from backend.label_studio.connection import Connection
from backend.label_studio.task_query import (
    BY_ID,
    NEWEST_FIRST,
    Filter,
    changed_since,
    is_annotated,
    not_predicted_by,
    task_filter,
    task_query,
)

# The most in one answer: of whole tasks, which predictions and annotations make large, and of bare ids.
PAGE_TASKS = 100
PAGE_IDS = 1000
# Where few tasks will have changed: each in an answer takes Label Studio 1.5 ms.
PAGE_NEWEST = 5
# An export takes the ids in the URL, whose length servers limit.
PAGE_EXPORTED = 200
WAITING_FIELDS = "id,data,total_annotations,cancelled_annotations"
NAMED_FIELDS = "id,data,total_annotations"
PROJECT_FIELDS = "id,title,label_config,model_version,min_annotations_to_start_training,sampling"
# The header of Drape's webhooks.
SECRET_HEADER = "X-Drape-Secret"
UNCERTAINTY_SAMPLING = "Uncertainty sampling"


@dataclass(frozen=True)
class Project:
    """The facts about a project that Drape needs.

    Attributes:
        min_annotations: the project's own training threshold; 0 for none.
        by_uncertainty: whether Label Studio serves annotators the least certain image first.
    """

    id: int
    title: str
    label_config: str
    model_version: str
    min_annotations: int
    by_uncertainty: bool


@dataclass(frozen=True)
class TaskCounts:
    """How many tasks a project has.

    Attributes:
        predicted: tasks with a prediction of any version.
        waiting: predicted tasks that nobody has annotated or skipped.
        doubtful: waiting tasks whose score is low. The score of several predictions is Label Studio's own mean, over
            the project's current versions where Label Studio distinguishes versions.
    """

    images: int
    predicted: int
    waiting: int
    doubtful: int


class LabelStudio(Connection):
    """Reads from one Label Studio and writes to it, in the name of one account.

    Every method raises `LabelStudioError` if Label Studio refuses the key or answers with an error, and its subclass
    `LabelStudioUnavailableError` if Label Studio does not answer.
    """

    def project(self, project_id: int) -> Project:
        """The project as it is now."""
        project = self._project(project_id, PROJECT_FIELDS)
        return Project(
            id=project_id,
            title=project.title or "",
            label_config=project.label_config or "",
            model_version=project.model_version or "",
            min_annotations=project.min_annotations_to_start_training or 0,
            by_uncertainty=project.sampling == UNCERTAINTY_SAMPLING,
        )

    def members(self) -> dict[int, str]:
        """User id → name and address, of everybody in the account's organisation, sorted by name."""
        with self.api() as sdk:
            users = sdk.users.list()
        names = {int(user.id or 0): (f"{user.first_name} {user.last_name}".strip(), user.email) for user in users}
        shown = {number: f"{name} ({email})" if name else str(email) for number, (name, email) in names.items()}
        return dict(sorted(shown.items(), key=lambda member: member[1].casefold()))

    def project_ids(self) -> set[int]:
        """Ids of all projects that the account sees."""
        with self.api() as sdk:
            return {int(project.id or 0) for project in sdk.projects.list(include="id")}

    def projects_with_webhook(self, secret: str) -> list[int]:
        """Ids of the projects whose webhook carries `secret`: those that the backend is connected to."""
        with self.api() as sdk:
            hooks = sdk.webhooks.list()
        project_ids = {hook.project for hook in hooks if secret and (hook.headers or {}).get(SECRET_HEADER) == secret}
        return sorted(int(project_id) for project_id in project_ids if project_id is not None)

    def tasks(self, project_id: int, task_ids: Sequence[int]) -> list[dict[str, Any]]:
        """Those of `task_ids` that still exist, with their predictions; sorted by id, each once."""
        return [
            task
            for ids in _chunks(task_ids, PAGE_TASKS)
            for task in self._page(project_id, task_query([], among=ids), size=PAGE_TASKS, fields="all")
        ]

    def unpredicted_tasks(self, project_id: int, task_ids: Sequence[int], *, version: str) -> list[dict[str, Any]]:
        """Those of `task_ids` that exist and have no prediction of `version`, sorted by id.

        Each has `id`, `data`, `total_annotations`, and `cancelled_annotations`: how often it was skipped.
        """
        tasks: list[dict[str, Any]] = []
        for ids in _chunks(task_ids, PAGE_TASKS):
            query = task_query([not_predicted_by(version)], among=ids)
            tasks += self._page(project_id, query, size=PAGE_TASKS, fields="task_only", include=WAITING_FIELDS)
        return tasks

    def task_ids(self, project_id: int, *, among: Sequence[int] | None = None) -> list[int]:
        """Ids of all tasks of the project, or of those in `among` that exist, sorted."""
        return self._ids(project_id, [], among)

    def waiting_task_ids(self, project_id: int, *, version: str) -> list[int]:
        """Sorted ids of tasks without annotations and without predictions of `version`; '' stands for any version."""
        filters = [task_filter("total_annotations", "equal", 0)]
        filters.append(not_predicted_by(version) if version else task_filter("total_predictions", "equal", 0))
        return self._ids(project_id, filters)

    def task_counts(self, project_id: int, *, doubtful_below: float) -> TaskCounts:
        """Counts the project's tasks in four requests, none of which lists them.

        Args:
            doubtful_below: a task whose score, in `[0, 1]`, is lower than this is doubtful.
        """
        predicted = [task_filter("total_predictions", "greater", 0)]
        waiting = [
            *predicted,
            task_filter("total_annotations", "equal", 0),
            task_filter("cancelled_annotations", "equal", 0),
        ]
        doubtful = [*waiting, task_filter("predictions_score", "less", doubtful_below)]
        return TaskCounts(
            images=self._project(project_id, "task_number").task_number or 0,
            predicted=self._total(project_id, predicted),
            waiting=self._total(project_id, waiting),
            doubtful=self._total(project_id, doubtful),
        )

    def surest_tasks(
        self, project_id: int, *, version: str, count: int, up_to: float | None = None, without: Sequence[int] = ()
    ) -> list[dict[str, Any]]:
        """Up to `count` tasks with a prediction of `version` that nobody has annotated, skipped or begun to annotate.

        Those with the highest score come first. Each has its `predictions`, and its score as `predictions_score`.

        Args:
            up_to: the highest score that counts; None for any.
            without: ids of tasks to leave out, a few hundred at most: they go into the address.
        """
        filters = [
            task_filter("predictions_model_versions", "contains", [version], kind="List"),
            task_filter("total_annotations", "equal", 0),
            task_filter("cancelled_annotations", "equal", 0),
            task_filter("draft_exists", "equal", "false", kind="Boolean"),
        ]
        if up_to is not None:
            filters.append(task_filter("predictions_score", "less_or_equal", up_to))
        query = {**task_query(filters), "ordering": ["-tasks:predictions_score"]}
        if without:
            query["selectedItems"] = {"all": True, "excluded": list(without)}
        return self._page(project_id, query, size=count, fields="all")

    def tasks_after(self, project_id: int, task_id: int, *, count: int) -> list[dict[str, Any]]:
        """Up to `count` tasks that follow `task_id` in the order of their ids."""
        query = task_query([task_filter("id", "greater", task_id)])
        return self._page(project_id, query, size=count, fields="task_only")

    def sample_tasks(self, project_id: int, *, count: int, runs: int) -> list[dict[str, Any]]:
        """About `count` tasks from all over the project, in `runs` runs of neighbours; all tasks of a small project."""
        size = max(count // runs, 1)
        task_count = self._project(project_id, "task_number").task_number or 0
        last_page = max(-(-task_count // size), 1)
        pages = sorted({1 + run * (last_page - 1) // max(runs - 1, 1) for run in range(runs)})
        return [
            task
            for page in pages
            for task in self._page(project_id, task_query([]), size=size, page=page, fields="task_only")
        ]

    def annotated_tasks(self, project_id: int, *, among: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """All tasks with annotations, or those in `among`: their `annotations`, `data`, `id` and `updated_at`.

        Only this export tells which prediction an annotation began with (`prediction`).
        """
        if among is None:
            return self._export(project_id, {})
        return [
            task for ids in _chunks(among, PAGE_EXPORTED) for task in self._export(project_id, {"ids[]": list(ids)})
        ]

    def all_tasks(self, project_id: int) -> Iterator[dict[str, Any]]:
        """Yields every task of the project by id, fetched in pages: its `id`, `data` and `total_annotations`."""
        last_id = 0
        while True:
            query = task_query([task_filter("id", "greater", last_id)])
            page = self._page(project_id, query, size=PAGE_IDS, fields="task_only", include=NAMED_FIELDS)
            if not page:
                return
            yield from page
            last_id = int(page[-1]["id"])

    def annotated_task_ids(self, project_id: int) -> list[int]:
        """Sorted ids of tasks that have annotations other than skips; a thousand take about a second."""
        return self._ids(project_id, [is_annotated()])

    def count_annotated(self, project_id: int) -> int:
        """Number of tasks that have annotations other than skips."""
        return self._total(project_id, [is_annotated()])

    def changed_tasks(self, project_id: int, *, since: datetime) -> tuple[dict[int, str], int]:
        """The annotated tasks that changed at `since` or later, themselves or in their annotations.

        Tasks that were deleted, or have lost all their annotations, are not among them.

        Returns:
            Task id → time of its last change (ISO 8601); and the number of all annotated tasks.
        """
        # Both in one request, if few have changed.
        newest = self._changes(project_id, [], PAGE_NEWEST, ordering=NEWEST_FIRST)
        page, annotated = newest.items or [], int(newest.response.total)
        if len(page) < annotated and all(task.updated_at >= since for task in page):
            page = self._all_changes(project_id, since)
        return {int(task.id): task.updated_at.isoformat() for task in page if task.updated_at >= since}, annotated

    def _all_changes(self, project_id: int, since: datetime) -> list[Any]:
        changed: list[Any] = []
        while True:
            last_id = int(changed[-1].id) if changed else 0
            answer = self._changes(project_id, [changed_since(since), task_filter("id", "greater", last_id)], PAGE_IDS)
            page = answer.items or []
            changed += page
            # A short page need not be the last: Label Studio's own limit may be lower than `PAGE_IDS`.
            if not page or len(page) >= int(answer.response.total):
                return changed

    def _changes(self, project_id: int, filters: list[Filter], size: int, *, ordering: str = BY_ID) -> Any:
        query = task_query([is_annotated(), *filters], ordering=ordering)
        return self._list(project_id, query, size, fields="task_only", include="id,updated_at")

    def write_predictions(self, project_id: int, predictions: Sequence[tuple[int, Prediction]]) -> None:
        """Stores predictions, as pairs of task id and prediction, in one request, without their clusters.

        Label Studio then recounts what every task of the project has, unless a flag of its own limits that to these
        tasks (see docs/guides/connect.md): with some thousand predictions that takes seconds.
        """
        if not predictions:
            return
        request = [
            PredictionRequest(
                task=task_id, result=prediction.regions, score=prediction.score, model_version=prediction.model_version
            )
            for task_id, prediction in predictions
        ]
        with self.api() as sdk:
            # No automatic retry: if only the answer was lost, the predictions are stored already.
            sdk.projects.import_predictions(project_id, request=request, request_options={"max_retries": 0})

    def write_prediction(self, task_id: int, prediction: Prediction) -> None:
        """Stores one prediction with its cluster; it costs more than one of many in bulk, but always the same."""
        with self.api() as sdk:
            sdk.predictions.create(
                task=task_id,
                result=prediction.regions,
                score=prediction.score,
                cluster=prediction.cluster,
                model_version=prediction.model_version,
                request_options={"max_retries": 0},
            )

    def show_model_version(self, project_id: int, version: str) -> None:
        """Makes Label Studio show the predictions of `version` for the project.

        Label Studio refuses a version that it holds no prediction of yet.
        """
        with self.api() as sdk:
            sdk.projects.update(project_id, model_version=version)

    def accept(
        self, task_id: int, regions: list[dict[str, Any]], *, unique_id: str, ground_truth: bool = False, **others: Any
    ) -> dict[str, Any] | None:
        """Stores an annotation, unless `unique_id` is stored already: then the answer is None.

        Args:
            others: further fields; without `completed_by` it is this account's annotation.
        """
        with self.api() as sdk, _accepting(HTTPStatus.CONFLICT):
            facts = {"unique_id": unique_id, "ground_truth": ground_truth, **others}
            return sdk.annotations.create(task_id, result=regions, **facts).model_dump()
        return None

    def annotation(self, annotation_id: int) -> dict[str, Any] | None:
        """An annotation as it is now; None if it no longer exists."""
        with self.api() as sdk, _accepting(HTTPStatus.NOT_FOUND):
            return sdk.annotations.get(annotation_id).model_dump()
        return None

    def has_draft(self, task_id: int, annotation_id: int) -> bool:
        """Whether anybody has changes to an annotation that are not saved yet."""
        # The SDK returns the drafts of its own account only.
        answer = self.send("GET", f"/api/tasks/{task_id}/drafts")
        with self.api():
            answer.raise_for_status()
            return any(draft.get("annotation") == annotation_id for draft in answer.json())

    def delete_annotation(self, annotation_id: int) -> None:
        """Deletes an annotation; an annotation that no longer exists is no failure."""
        with self.api() as sdk, _accepting(HTTPStatus.NOT_FOUND):
            sdk.annotations.delete(annotation_id)

    def delete_prediction(self, prediction_id: int) -> None:
        """Deletes a prediction; a prediction that no longer exists is no failure."""
        with self.api() as sdk, _accepting(HTTPStatus.NOT_FOUND):
            sdk.predictions.delete(prediction_id)

    def write_cluster(self, prediction_id: int, cluster: int) -> None:
        """Sets the image's group on a stored prediction, since a bulk import cannot set it."""
        with self.api() as sdk:
            sdk.predictions.update(prediction_id, cluster=cluster)

    def _export(self, project_id: int, query: dict[str, Any]) -> list[dict[str, Any]]:
        options: RequestOptions = {"additional_query_parameters": query}
        with self.api() as sdk:
            body = b"".join(sdk.projects.exports.download_sync(project_id, export_type="JSON", request_options=options))
        tasks: list[dict[str, Any]] = json.loads(body or b"[]")
        return tasks

    def _project(self, project_id: int, fields: str) -> Any:
        # Only those fields: Label Studio would compute the others over all tasks of the project.
        with self.api() as sdk:
            options: RequestOptions = {"additional_query_parameters": {"include": fields}}
            return sdk.projects.get(project_id, request_options=options)

    def _ids(self, project_id: int, filters: list[Filter], among: Sequence[int] | None = None) -> list[int]:
        # Pages begin after the last id: with page numbers, tasks that leave the filter meanwhile would hide others.
        ids: list[int] = []
        while True:
            query = task_query([*filters, task_filter("id", "greater", ids[-1] if ids else 0)], among=among)
            page = self._page(project_id, query, size=PAGE_IDS, fields="task_only", include="id")
            # A short page need not be the last: Label Studio's own limit may be lower than `PAGE_IDS`.
            if not page:
                return ids
            ids += [int(task["id"]) for task in page]

    def _total(self, project_id: int, filters: list[Filter]) -> int:
        # Label Studio reports the total with each page; listing 18,000 tasks takes 300 times as long.
        return int(self._list(project_id, task_query(filters), 1, fields="task_only", include="id").response.total)

    def _page(
        self, project_id: int, query: dict[str, Any], *, size: int, page: int = 1, **fields: Any
    ) -> list[dict[str, Any]]:
        return [task.model_dump() for task in self._list(project_id, query, size, page, **fields).items or []]

    def _list(self, project_id: int, query: dict[str, Any], size: int, page: int = 1, **fields: Any) -> Any:
        with self.api() as sdk:
            return sdk.tasks.list(project=project_id, page=page, page_size=size, query=json.dumps(query), **fields)


@contextmanager
def _accepting(status: HTTPStatus) -> Iterator[None]:
    """Ignores an error answer of that status."""
    try:
        yield
    except ApiError as e:
        if e.status_code != status:
            raise


def _chunks(task_ids: Sequence[int], size: int) -> Iterator[list[int]]:
    """Yields the distinct ids in order, `size` at a time."""
    ids = sorted(set(task_ids))
    for first in range(0, len(ids), size):
        yield ids[first : first + size]
