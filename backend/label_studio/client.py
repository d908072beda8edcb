"""The only client of Label Studio, on its own SDK: what a project holds, and what is written back."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from label_studio_sdk import PredictionRequest
from label_studio_sdk.core.api_error import ApiError
from label_studio_sdk.core.request_options import RequestOptions

from backend.domain import Prediction
from backend.label_studio.connection import Connection

logger = logging.getLogger(__name__)

# In one answer: whole tasks, which predictions and annotations make large, and mere numbers.
PAGE_TASKS = 100
PAGE_IDS = 1000
# Their numbers stand in the address, whose length servers limit.
PAGE_EXPORTED = 200
WAITING_FIELDS = "id,data,total_annotations,cancelled_annotations"
NAMED_FIELDS = "id,data,total_annotations"
PROJECT_FIELDS = "id,title,label_config,model_version,min_annotations_to_start_training,sampling"
# What our webhooks carry.
SECRET_HEADER = "X-Drape-Secret"
UNCERTAINTY = "Uncertainty sampling"

Filter = dict[str, Any]


@dataclass(frozen=True)
class Project:
    """What Drape needs of a project.

    Attributes:
        min_annotations: its own training threshold, 0 for none.
        by_uncertainty: whether annotators are served the least certain image first.
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
        predicted: with a prediction of any version.
        waiting: those of them that nobody has annotated, nor skipped.
        doubtful: those of them whose predictions' score is low: of several predictions, by Label Studio's own mean, of
            the project's current versions where it tells them apart.
    """

    images: int
    predicted: int
    waiting: int
    doubtful: int


class LabelStudio(Connection):
    """What is asked of one Label Studio, and told it, in the name of one account.

    Every method raises `LabelStudioError`: it refuses the key, or answers with an error; `LabelStudioAwayError`, which
    is one, where it does not answer.
    """

    def project(self, project_id: int) -> Project:
        """The project as it is now."""
        found = self._project(project_id, PROJECT_FIELDS)
        return Project(
            id=project_id,
            title=found.title or "",
            label_config=found.label_config or "",
            model_version=found.model_version or "",
            min_annotations=found.min_annotations_to_start_training or 0,
            by_uncertainty=found.sampling == UNCERTAINTY,
        )

    def projects_with_webhook(self, secret: str) -> list[int]:
        """Ids of the projects whose webhook carries our secret: those that the backend was connected to."""
        sdk = self.sdk
        with self.said_plainly():
            hooks = sdk.webhooks.list()
        ours = {one.project for one in hooks if secret and (one.headers or {}).get(SECRET_HEADER) == secret}
        return sorted(int(project) for project in ours if project is not None)

    def tasks(self, project_id: int, task_ids: Sequence[int]) -> list[dict[str, Any]]:
        """The tasks that still exist of `task_ids`, with their predictions; by id, each once."""
        wanted = sorted(set(task_ids))
        found: list[dict[str, Any]] = []
        for first in range(0, len(wanted), PAGE_TASKS):
            chosen = {"selectedItems": {"all": False, "included": wanted[first : first + PAGE_TASKS]}}
            found += self._page(project_id, {**chosen, "ordering": ["tasks:id"]}, size=PAGE_TASKS, fields="all")
        return found

    def unpredicted_tasks(self, project_id: int, task_ids: Sequence[int], *, version: str) -> list[dict[str, Any]]:
        """Those of `task_ids` that exist and have no prediction of `version`: by id.

        Each with its `id`, its `data`, its `total_annotations`, and its `cancelled_annotations`: how often it was
        skipped.
        """
        wanted = sorted(set(task_ids))
        found: list[dict[str, Any]] = []
        for first in range(0, len(wanted), PAGE_TASKS):
            query = _query([_not_predicted_by(version)])
            query["selectedItems"] = {"all": False, "included": wanted[first : first + PAGE_TASKS]}
            found += self._page(project_id, query, size=PAGE_TASKS, fields="task_only", include=WAITING_FIELDS)
        return found

    def task_ids(self, project_id: int, *, among: Sequence[int] | None = None) -> list[int]:
        """Every task of the project, or those of `among` that exist, in order."""
        return self._ids(project_id, [], among)

    def waiting_task_ids(self, project_id: int, *, version: str) -> list[int]:
        """Tasks that nobody has annotated and `version` has not predicted, in order; '' stands for any version."""
        filters = [_filter("total_annotations", "equal", 0)]
        filters.append(_not_predicted_by(version) if version else _filter("total_predictions", "equal", 0))
        return self._ids(project_id, filters)

    def task_counts(self, project_id: int, *, doubtful_below: float) -> TaskCounts:
        """Counts the project's tasks, in four requests of which none lists them.

        Args:
            doubtful_below: the score, in `[0, 1]`, that those of doubtful tasks are below.
        """
        predicted = [_filter("total_predictions", "greater", 0)]
        waiting = [*predicted, _filter("total_annotations", "equal", 0), _filter("cancelled_annotations", "equal", 0)]
        doubtful = [*waiting, _filter("predictions_score", "less", doubtful_below)]
        return TaskCounts(
            images=self._project(project_id, "task_number").task_number or 0,
            predicted=self._total(project_id, predicted),
            waiting=self._total(project_id, waiting),
            doubtful=self._total(project_id, doubtful),
        )

    def tasks_after(self, project_id: int, task_id: int, *, count: int) -> list[dict[str, Any]]:
        """The `count` tasks that follow `task_id` in the order of their numbers, as many as there are."""
        query = _query([_filter("id", "greater", task_id)])
        return self._page(project_id, query, size=count, fields="task_only")

    def sample_tasks(self, project_id: int, *, count: int, runs: int) -> list[dict[str, Any]]:
        """About `count` tasks from all over the project, in `runs` pieces; all of a small project."""
        size = max(count // runs, 1)
        held = self._project(project_id, "task_number").task_number or 0
        last = max(-(-held // size), 1)
        pages = sorted({1 + number * (last - 1) // max(runs - 1, 1) for number in range(runs)})
        return [
            task
            for page in pages
            for task in self._page(project_id, _query([]), size=size, page=page, fields="task_only")
        ]

    def annotated_tasks(self, project_id: int, *, among: Sequence[int] | None = None) -> list[dict[str, Any]]:
        """Every task that has annotations, or those of `among`, with them (`annotations`, `data`, `id`, `updated_at`).

        Only here Label Studio tells what prediction an annotation began with (`prediction`).
        """
        if among is None:
            return self._exported(project_id, {})
        wanted = sorted(set(among))
        return [
            task
            for first in range(0, len(wanted), PAGE_EXPORTED)
            for task in self._exported(project_id, {"ids[]": wanted[first : first + PAGE_EXPORTED]})
        ]

    def all_tasks(self, project_id: int) -> Iterator[dict[str, Any]]:
        """Every task of the project in order, some at a time: its `id`, its `data`, its `total_annotations`."""
        last = 0
        while True:
            query = _query([_filter("id", "greater", last)])
            page = self._page(project_id, query, size=PAGE_IDS, fields="task_only", include=NAMED_FIELDS)
            if not page:
                return
            yield from page
            last = int(page[-1]["id"])

    def annotated_task_ids(self, project_id: int) -> list[int]:
        """Tasks that have annotations other than skips, in order: about a second for a thousand."""
        return self._ids(project_id, [_is_annotated()])

    def count_annotated(self, project_id: int) -> int:
        """How many tasks have annotations other than skips."""
        return self._total(project_id, [_is_annotated()])

    def changed_tasks(self, project_id: int, *, since: str) -> dict[int, str]:
        """When each annotated task was changed that was, or whose annotations were, at `since` or later.

        Tasks that were deleted, or have no annotations any more, tell nothing.

        Args:
            since: a time as Label Studio's filters read it.

        Returns:
            Task id → ISO 8601.
        """
        found: dict[int, str] = {}
        while True:
            filters = [
                _is_annotated(),
                _filter("updated_at", "greater_or_equal", since, kind="Datetime"),
                _filter("id", "greater", max(found, default=0)),
            ]
            listed = self._listed(project_id, _query(filters), PAGE_IDS, fields="task_only", include="id,updated_at")
            page = listed.items or []
            found |= {int(task.id): task.updated_at.isoformat() for task in page}
            # Label Studio may give fewer than were asked for, where its own limit is lower.
            if not page or len(page) >= int(listed.response.total):
                return found

    def write_predictions(self, project_id: int, predictions: Sequence[tuple[int, Prediction]]) -> None:
        """Stores predictions, pairs of task id and prediction, in one request; their clusters are lost.

        Label Studio then counts anew what each task of the project has, unless a flag of its own tells it to keep to
        these tasks (docs/guides/connect.md): with some thousand predictions that takes seconds.
        """
        if not predictions:
            return
        request = [
            PredictionRequest(
                task=task_id, result=prediction.regions, score=prediction.score, model_version=prediction.model_version
            )
            for task_id, prediction in predictions
        ]
        sdk = self.sdk
        with self.said_plainly():
            # Never sent again unasked: an answer that was lost does not say that nothing was stored.
            sdk.projects.import_predictions(project_id, request=request, request_options={"max_retries": 0})

    def write_prediction(self, task_id: int, prediction: Prediction) -> None:
        """Stores one, with its cluster: dearer than one of many, but always at the same price."""
        sdk = self.sdk
        with self.said_plainly():
            sdk.predictions.create(
                task=task_id,
                result=prediction.regions,
                score=prediction.score,
                cluster=prediction.cluster,
                model_version=prediction.model_version,
                request_options={"max_retries": 0},
            )

    def show_model_version(self, project_id: int, version: str) -> None:
        """Makes `version` the one whose predictions Label Studio shows for the project.

        Label Studio refuses a version of which it holds no prediction yet.
        """
        sdk = self.sdk
        with self.said_plainly():
            sdk.projects.update(project_id, model_version=version)

    def accept(
        self, task_id: int, regions: list[dict[str, Any]], *, unique_id: str, ground_truth: bool = False
    ) -> None:
        """Stores an annotation in this account's name, unless one is stored under `unique_id` already."""
        sdk = self.sdk
        with self.said_plainly():
            try:
                sdk.annotations.create(task_id, result=regions, unique_id=unique_id, ground_truth=ground_truth)
            except ApiError as e:
                if e.status_code != HTTPStatus.CONFLICT:
                    raise

    def annotation(self, annotation_id: int) -> dict[str, Any] | None:
        """An annotation as it is now; None where it is gone."""
        sdk = self.sdk
        with self.said_plainly():
            try:
                return sdk.annotations.get(annotation_id).model_dump()
            except ApiError as e:
                if e.status_code != HTTPStatus.NOT_FOUND:
                    raise
                return None

    def has_draft(self, task_id: int, annotation_id: int) -> bool:
        """Whether anybody has changed an annotation and not saved it yet."""
        # The SDK gives the drafts of its own account alone.
        answer = self.send("GET", f"/api/tasks/{task_id}/drafts")
        with self.said_plainly():
            answer.raise_for_status()
            return any(draft.get("annotation") == annotation_id for draft in answer.json())

    def delete_annotation(self, annotation_id: int) -> None:
        """Deletes an annotation; one that is gone already is no failure."""
        sdk = self.sdk
        with self.said_plainly():
            try:
                sdk.annotations.delete(annotation_id)
            except ApiError as e:
                if e.status_code != HTTPStatus.NOT_FOUND:
                    raise

    def write_cluster(self, prediction_id: int, cluster: int) -> None:
        """Says which group a stored prediction's image belongs to: what is written in bulk cannot say it."""
        sdk = self.sdk
        with self.said_plainly():
            sdk.predictions.update(prediction_id, cluster=cluster)

    def _exported(self, project_id: int, query: dict[str, Any]) -> list[dict[str, Any]]:
        sdk = self.sdk
        options: RequestOptions = {"additional_query_parameters": query}
        with self.said_plainly():
            body = b"".join(sdk.projects.exports.download_sync(project_id, export_type="JSON", request_options=options))
        tasks: list[dict[str, Any]] = json.loads(body or b"[]")
        return tasks

    def _project(self, project_id: int, fields: str) -> Any:
        # Only those fields: what else Label Studio tells of a project it counts anew over all of its tasks.
        sdk = self.sdk
        with self.said_plainly():
            wanted: RequestOptions = {"additional_query_parameters": {"include": fields}}
            return sdk.projects.get(project_id, request_options=wanted)

    def _ids(self, project_id: int, filters: list[Filter], among: Sequence[int] | None = None) -> list[int]:
        # From id to id, not by page numbers: tasks that leave the filter meanwhile would shift others past the reader.
        found: list[int] = []
        while True:
            query = _query([*filters, _filter("id", "greater", found[-1] if found else 0)])
            if among is not None:
                query["selectedItems"] = {"all": False, "included": list(among)}
            page = self._page(project_id, query, size=PAGE_IDS, fields="task_only", include="id")
            # Label Studio may give fewer than were asked for, where its own limit is lower.
            if not page:
                return found
            found += [int(task["id"]) for task in page]

    def _total(self, project_id: int, filters: list[Filter]) -> int:
        # Label Studio says with each page how many there are in all: to list 18,000 of them takes it 300 times as long.
        return int(self._listed(project_id, _query(filters), 1, fields="task_only", include="id").response.total)

    def _page(
        self, project_id: int, query: dict[str, Any], *, size: int, page: int = 1, **wanted: Any
    ) -> list[dict[str, Any]]:
        return [task.model_dump() for task in self._listed(project_id, query, size, page, **wanted).items or []]

    def _listed(self, project_id: int, query: dict[str, Any], size: int, page: int = 1, **wanted: Any) -> Any:
        sdk = self.sdk
        with self.said_plainly():
            return sdk.tasks.list(project=project_id, page=page, page_size=size, query=json.dumps(query), **wanted)


def _query(filters: list[Filter]) -> dict[str, Any]:
    return {"filters": {"conjunction": "and", "items": filters}, "ordering": ["tasks:id"]}


def _is_annotated() -> Filter:
    # Skips apart.
    return _filter("total_annotations", "greater", 0)


def _not_predicted_by(version: str) -> Filter:
    # A list: of a text Label Studio would look for every letter.
    return _filter("predictions_model_versions", "not_contains", [version], kind="List")


def _filter(name: str, operator: str, value: Any, *, kind: str = "Number") -> Filter:
    return {"filter": f"filter:tasks:{name}", "operator": operator, "type": kind, "value": value}
