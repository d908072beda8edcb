"""Entry point for hosting Drape with `label-studio-ml`'s own runner: a thin adapter to `Service`."""

from __future__ import annotations

import functools
import json
from typing import Any

from label_studio_ml.model import LabelStudioMLBase

from backend.label_studio.payloads import PredictRequest, WebhookEvent
from backend.service import Service
from backend.settings import Settings

# How long `fit` waits for a Redis that does not answer.
FIT_TIMEOUT_S = 10.0


@functools.cache
def service() -> Service:
    """The process's only service: the runner builds a model for each project, and all of them share it."""
    return Service.build(Settings())


class GarmentModel(LabelStudioMLBase):  # type: ignore[misc]
    """The runner's model class, for 1.0.9 on PyPI and 2.x in the vendor's repository, which passes `project_id`."""

    def __init__(self, project_id: str | None = None, label_config: str | None = None, **kwargs: Any) -> None:
        # 2.x passes both by name or in this order; 1.0.9 passes `label_config` by name, and `train_output`.
        super().__init__(label_config=label_config, **kwargs)
        self.project = project_id
        self.config_xml = label_config or ""

    def setup(self) -> None:
        """Does nothing: 2.x calls it to let a model name its version, which each answer reads from the registry."""

    def predict(
        self, tasks: list[dict[str, Any]], context: dict[str, Any] | None = None, **kwargs: Any
    ) -> list[dict[str, Any] | list[Any]]:
        """Returns one entry per task, in order, as `/predict` does.

        Args:
            tasks: Label Studio's tasks.
            context: the annotator's prompts; None for whole images.
        """
        project = self.project or (tasks[0].get("project") if tasks else None)
        body = {"tasks": tasks, "project": project, "label_config": self.config_xml, "params": {"context": context}}
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
