"""Label Studio's requests as typed models: keys that we do not need are ignored, those that we need are required."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr


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
    """One task; `data` maps the label config's data keys to addresses and texts."""

    id: int
    data: dict[str, Any]
    project: int | None = None


class Drawn(Wire):
    """What is drawn in a task already, submitted or not; Label Studio sends lists of both with a prompt."""

    annotations: Any = None
    drafts: Any = None


class DrawnRequest(Wire):
    """`POST /predict`, read for what is drawn alone."""

    tasks: list[Drawn]


class Params(Wire):
    """`context` holds the annotator's prompts under `result`; None for whole images."""

    context: dict[str, Any] | None = None


class PredictRequest(Wire):
    """`POST /predict`."""

    tasks: list[Task]
    label_config: str
    project_id: ProjectId = Field(None, alias="project")
    params: Params = Params()
    _body: bytes = PrivateAttr(b"")

    @classmethod
    def read(cls, body: bytes) -> PredictRequest:
        """The request in a JSON body.

        Raises:
            pydantic.ValidationError: it is none.
        """
        request = cls.model_validate_json(body)
        request._body = body
        return request

    def drawn(self) -> Drawn:
        """What is drawn in the first task; read only now, as it may be hundreds of regions that most answers ignore."""
        return DrawnRequest.model_validate_json(self._body).tasks[0] if self._body else Drawn()

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
    annotation: dict[str, Any] | None = None

    @property
    def project_id(self) -> int:
        """Number of the project."""
        return self.project.id
