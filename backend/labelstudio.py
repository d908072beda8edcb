"""The only client of Label Studio, on its own SDK: what a project holds, and what is written back."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any

import httpx
from label_studio_sdk import LabelStudio as Sdk
from label_studio_sdk import PredictionRequest
from label_studio_sdk.core.api_error import ApiError

from backend.domain import Prediction
from backend.errors import LabelStudioError
from backend.settings import Settings

logger = logging.getLogger(__name__)

PAGE = 500


@dataclass(frozen=True)
class Project:
    """What Drape needs of a project; `min_annotations` is its own training threshold, 0 for none."""

    id: int
    title: str
    label_config: str
    model_version: str
    min_annotations: int


class LabelStudio:
    """One account at one Label Studio. Connects on first use; safe for threads.

    Every method raises `LabelStudioError`: it is away, refuses the key, or answers with an error.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._sdk: Sdk | None = None
        self._lock = threading.Lock()

    @property
    def sdk(self) -> Sdk:
        """The SDK's client, for calls that set a project up; use it inside `said_plainly`."""
        with self._lock:
            if self._sdk is None:
                url, key = self._settings.label_studio_url, self._settings.label_studio_api_key
                if not url or not key:
                    raise LabelStudioError("LABEL_STUDIO_URL and LABEL_STUDIO_API_KEY are not set.")
                with self.said_plainly():
                    self._sdk = Sdk(base_url=url, api_key=key, timeout=self._settings.label_studio_timeout_s)
            return self._sdk

    @contextmanager
    def said_plainly(self) -> Iterator[None]:
        """Turns the SDK's failures into `LabelStudioError` with a sentence."""
        url = self._settings.label_studio_url
        try:
            yield
        except ApiError as e:
            if e.status_code in (401, 403) and "reserved network address" not in str(e.body):
                raise LabelStudioError(f"Label Studio at {url} refuses the API key ({e.status_code}).") from e
            raise LabelStudioError(f"Label Studio at {url} answered {e.status_code}: {_brief(e.body)}") from e
        except httpx.HTTPError as e:
            raise LabelStudioError(f"Label Studio does not answer at {url} ({type(e).__name__}).") from e

    def bearer(self) -> str:
        """The current value of the `Authorization` header; a personal access token is renewed as needed."""
        sdk = self.sdk
        with self.said_plainly():
            # The SDK exchanges the token in here, and has no public way to ask for the result.
            return str(sdk._client_wrapper.get_headers()["Authorization"])

    def project(self, project_id: int) -> Project:
        """The project as it is now."""
        sdk = self.sdk
        with self.said_plainly():
            found = sdk.projects.get(project_id)
        return Project(
            id=project_id,
            title=found.title or "",
            label_config=found.label_config or "",
            model_version=found.model_version or "",
            min_annotations=found.min_annotations_to_start_training or 0,
        )

    def tasks(self, project_id: int, task_ids: Sequence[int]) -> list[dict[str, Any]]:
        """The tasks that still exist of `task_ids`, with their predictions."""
        if not task_ids:
            return []
        chosen = json.dumps({"all": False, "included": list(task_ids)})
        return list(self._list(project_id, fields="all", query=json.dumps({"selectedItems": json.loads(chosen)})))

    def task_ids(self, project_id: int) -> list[int]:
        """Every task of the project."""
        return [int(task["id"]) for task in self._list(project_id, fields="task_only", include="id")]

    def unannotated_task_ids(self, project_id: int) -> list[int]:
        """Tasks that nobody has annotated yet."""
        nobody = {"filter": "filter:tasks:total_annotations", "operator": "equal", "type": "Number", "value": 0}
        query = json.dumps({"filters": {"conjunction": "and", "items": [nobody]}})
        return [int(task["id"]) for task in self._list(project_id, fields="task_only", query=query, include="id")]

    def tasks_after(self, project_id: int, task_id: int, *, count: int) -> list[dict[str, Any]]:
        """The `count` tasks that follow `task_id` in the order of their numbers, as many as there are."""
        later = {"filter": "filter:tasks:id", "operator": "greater", "type": "Number", "value": task_id}
        query = json.dumps({"filters": {"conjunction": "and", "items": [later]}, "ordering": ["tasks:id"]})
        return list(islice(self._list(project_id, fields="task_only", query=query, page_size=count), count))

    def annotated_tasks(self, project_id: int) -> list[dict[str, Any]]:
        """Every task that has annotations, with them (`annotations`, `data`, `id`)."""
        sdk = self.sdk
        with self.said_plainly():
            body = b"".join(sdk.projects.exports.download_sync(project_id, export_type="JSON"))
        tasks: list[dict[str, Any]] = json.loads(body or b"[]")
        return tasks

    def write_predictions(self, project_id: int, predictions: Sequence[tuple[int, Prediction]]) -> None:
        """Stores predictions, pairs of task id and prediction, in one request."""
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
            sdk.projects.import_predictions(project_id, request=request)

    def show_model_version(self, project_id: int, version: str) -> None:
        """Makes `version` the one whose predictions Label Studio shows for the project.

        Label Studio refuses a version of which it holds no prediction yet.
        """
        sdk = self.sdk
        with self.said_plainly():
            sdk.projects.update(project_id, model_version=version)

    def _list(self, project_id: int, **kwargs: Any) -> Iterator[dict[str, Any]]:
        sdk = self.sdk
        with self.said_plainly():
            for task in sdk.tasks.list(project=project_id, **{"page_size": PAGE, **kwargs}):
                yield task.model_dump()


def _brief(body: Any) -> str:
    if isinstance(body, dict):
        body = body.get("validation_errors") or body.get("detail") or body
    return str(body)[:300]
