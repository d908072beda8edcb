"""Label Studio's requests as typed models: keys that we do not need are ignored, those that we need are required."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr


def _project_number(value: Any) -> Any:
    # Label Studio names a project `<id>.<created timestamp>`.
    if isinstance(value, str):
        head = value.split(".")[0]
        return int(head) if head.isdecimal() else None if not value else value
    return value


# As large as a database's: JSON's integers know no bounds, but names of files and jobs do.
Number = Annotated[int, Field(ge=0, lt=1 << 63)]
ProjectId = Annotated[Number | None, BeforeValidator(_project_number, json_schema_input_type=int | str | None)]


# Before the address of a file that Label Studio serves from a folder.
LOCAL_FILES = "/data/local-files/"
# The data key of an image that was uploaded before there was a label config.
UNDEFINED = "$undefined$"


class Wire(BaseModel):
    """Base of all requests."""

    model_config = ConfigDict(extra="ignore")


class Task(Wire):
    """One task; `data` maps the label config's data keys to addresses and texts."""

    id: Number
    data: dict[str, Any]
    project: Number | None = None


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

    @classmethod
    def described(cls, place: str) -> dict[str, Any]:
        """The body for the OpenAPI document, where the JSON schema stands at `place`."""
        return cls.model_json_schema(ref_template=f"{place}/$defs/{{model}}")

    def drawn(self) -> Drawn:
        """What is drawn in the first task; read only now, as it may be hundreds of regions that most answers ignore."""
        return DrawnRequest.model_validate_json(self._body).tasks[0] if self._body else Drawn()

    @property
    def context(self) -> dict[str, Any] | None:
        """The annotator's prompts; None where the request is for whole images."""
        context = self.params.context
        result = context.get("result") if context else None
        return context if isinstance(result, list) and result else None


class SetupRequest(Wire):
    """`POST /setup` and `/validate`; `schema_` is the label config."""

    schema_: str = Field(alias="schema")
    project_id: ProjectId = Field(None, alias="project")


class VersionsRequest(Wire):
    """`POST /versions`."""

    project_id: ProjectId = Field(None, alias="project")


class WebhookProject(Wire):
    """The project a webhook speaks of."""

    id: Number


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


def image_in(data: Mapping[str, Any], key: str) -> Any:
    """What a task's data hold in the place of its image's address; None where they hold nothing."""
    return data.get(key) or data.get(UNDEFINED)
