"""Label Studio's requests as typed models: keys that we do not need are ignored, those that we need are required."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field


def _project_number(value: Any) -> Any:
    # Label Studio names a project `<id>.<created timestamp>`.
    if isinstance(value, str):
        head = value.split(".")[0]
        return int(head) if head.isdigit() else None if not value else value
    return value


ProjectId = Annotated[int | None, BeforeValidator(_project_number)]


class Wire(BaseModel):
    """Base of all requests."""

    model_config = ConfigDict(extra="ignore")


class Task(Wire):
    """One task; `data` maps the label config's data keys to addresses and texts.

    Attributes:
        annotations, drafts: what is drawn already, submitted or not; Label Studio sends both with a prompt.
    """

    id: int
    data: dict[str, Any]
    project: int | None = None
    annotations: list[Any] = Field(default_factory=list)
    drafts: list[Any] = Field(default_factory=list)


class Params(Wire):
    """`context` holds the annotator's prompts under `result`; None for whole images."""

    context: dict[str, Any] | None = None


class PredictRequest(Wire):
    """`POST /predict`."""

    tasks: list[Task]
    label_config: str
    project_id: ProjectId = Field(None, alias="project")
    params: Params = Params()

    @property
    def context(self) -> dict[str, Any] | None:
        """The annotator's prompts; None where the request is for whole images."""
        context = self.params.context
        return context if context and context.get("result") else None


class SetupRequest(Wire):
    """`POST /setup` and `/validate`; `schema_` is the label config."""

    schema_: str = Field(alias="schema")
    project_id: ProjectId = Field(None, alias="project")


class VersionsRequest(Wire):
    """`POST /versions`."""

    project_id: ProjectId = Field(None, alias="project")


class WebhookProject(Wire):
    """The project a webhook speaks of."""

    id: int


class WebhookEvent(Wire):
    """`POST /webhook`. Only what the event hints at is read: the truth is asked of Label Studio."""

    action: str
    project: WebhookProject
    tasks: list[Task] = Field(default_factory=list)

    @property
    def project_id(self) -> int:
        """Number of the project."""
        return self.project.id
