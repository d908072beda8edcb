"""Entry point for hosting Drape with `label-studio-ml`'s own runner: a thin adapter to `Service`.

There are two runners: 1.0.9 on PyPI, and 2.x in the vendor's repository. 2.x builds a model for each request, and tells
it the project. 1.0.9 keeps the one that the last `/setup` built, whatever the project, and tells it nothing: what it is
asked stands in the runner's request alone.
"""

from __future__ import annotations

import functools
import json
import sys
from typing import Any

import label_studio_ml.model
from label_studio_ml.model import LabelStudioMLBase

from backend.label_studio.payloads import PredictRequest, WebhookEvent, project_number
from backend.service import Service
from backend.settings import Settings

# How long `fit` waits for a Redis that does not answer.
FIT_TIMEOUT_S = 10.0


@functools.cache
def service() -> Service:
    """The process's only service: the runner builds a model for each project, and all of them share it."""
    return Service.build(Settings())


class GarmentModel(LabelStudioMLBase):  # type: ignore[misc]
    """The runner's model class, for 1.0.9 and 2.x."""

    def __init__(self, project_id: str | None = None, label_config: str | None = None, **kwargs: Any) -> None:
        # 2.x passes both by name or in this order, and the text 'None' for no project; 1.0.9 passes `label_config` by
        # name, and `train_output`. 2.x stores what it keeps of a model by the project.
        self.project = _project_of(project_id)
        self.config_xml = label_config or ""
        project_key = "" if self.project is None else str(self.project)
        super().__init__(project_id=project_key, label_config=label_config, **kwargs)

    def setup(self) -> None:
        """Tells 2.x the version, which it answers a `/setup` with; 2.x calls this as it builds the model."""
        self.set("model_version", service().project_status.model_version(self.project))

    def predict(
        self, tasks: list[dict[str, Any]], context: dict[str, Any] | None = None, **kwargs: Any
    ) -> list[dict[str, Any] | list[Any]]:
        """Returns one entry per task, in order, as `/predict` does; empty entries where no project is known.

        Args:
            tasks: Label Studio's tasks.
            context: the annotator's prompts; None for whole images.
        """
        asked = _asked()
        project = self.project if self.project is not None else _project_of(asked.get("project"))
        if project is None and tasks:
            project = _project_of(tasks[0].get("project"))
        config = asked.get("label_config") or self.config_xml
        body = {"tasks": tasks, "project": project, "label_config": config, "params": {"context": context}}
        return service().predict(PredictRequest.read(json.dumps(body).encode()))

    def fit(self, tasks: Any, workdir: Any = None, **kwargs: Any) -> dict[str, str]:
        """Handles a webhook in either version's calling convention; returns as soon as its work is queued.

        1.0.9 calls `fit((), event=..., data=...)`; 2.x calls `fit(event, data, ...)`.
        """
        event, data = (tasks, workdir) if isinstance(tasks, str) else (kwargs.get("event"), kwargs.get("data"))
        body = {**(data if isinstance(data, dict) else {}), "action": event}
        queued = service().webhook(WebhookEvent.model_validate(body))
        # 1.0.9 calls `fit` in a process that ends right afterwards, and the inbox's thread with it.
        service().inbox.wait_until_empty(timeout_s=FIT_TIMEOUT_S)
        return {"queued": queued}


class _Loaded:
    """What 1.0.9 keeps of a model, and answers a `/setup` from: by itself with the version 'INITIAL'.

    Label Studio would take the predictions, which bear the real one, for those of another version, and store them again
    each time that a task is opened.
    """

    def __init__(self, model: GarmentModel, model_version: str, is_training: bool = False) -> None:
        self.model, self.is_training = model, is_training

    @property
    def model_version(self) -> str:
        return service().project_status.model_version(_project_of(_asked().get("project")))


if hasattr(label_studio_ml.model, "ModelWrapper"):
    label_studio_ml.model.ModelWrapper = _Loaded


def _asked() -> dict[str, Any]:
    """The body of the runner's request; empty outside of one."""
    # Not imported: it brings Flask, which is there only where the runner serves.
    runner = sys.modules.get("label_studio_ml.api")
    body = runner.request.get_json(silent=True) if runner is not None and runner.request else None
    return body if isinstance(body, dict) else {}


def _project_of(named: Any) -> int | None:
    """The id of a project as Label Studio sends it; None where nothing, or the text 'None', is sent."""
    number = project_number(named)
    return number if isinstance(number, int) else None
