"""Label Studio's requests as typed models: keys that Drape needs are required, all others are ignored."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AliasChoices, BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr


def project_number(value: Any) -> Any:
    # Label Studio sends a project as `<id>.<created timestamp>`.
    if isinstance(value, str):
        head = value.split(".")[0]
        return int(head) if head.isdecimal() else None if not value else value
    return value


# At most a database's 64 bits: integers in JSON have no limit, but the names of files and jobs have.
Number = Annotated[int, Field(ge=0, lt=1 << 63)]
ProjectId = Annotated[Number | None, BeforeValidator(project_number, json_schema_input_type=int | str | None)]


# URL path of files that Label Studio serves from a folder.
LOCAL_FILES = "/data/local-files/"


class Payload(BaseModel):
    """Base class of all requests."""

    model_config = ConfigDict(extra="ignore")

    @classmethod
    def body_schema_at(cls, location: str) -> dict[str, Any]:
        """The JSON schema of the body, for an OpenAPI document that holds it at `location`."""
        return cls.model_json_schema(ref_template=f"{location}/$defs/{{model}}")


class Task(Payload):
    """One task; `data` maps the label config's data keys to addresses and texts."""

    id: Number
    data: dict[str, Any]
    project: Number | None = None


class DrawnRegions(Payload):
    """What is already drawn in a task, submitted or not, or predicted; Label Studio sends all lists with a prompt.

    It sends them as it last saved them; it saves a draft some seconds after a change.
    """

    annotations: Any = None
    drafts: Any = None
    predictions: Any = None

    def saved(self) -> list[dict[str, Any]]:
        """Returns the regions of the draft that changed last, or without drafts of the annotation that changed last."""
        return _latest_regions(self.drafts, self.annotations)

    def shown(self) -> list[dict[str, Any]]:
        """Returns the regions that the annotator sees: those that are saved, else those of the last prediction."""
        return _latest_regions(self.drafts, self.annotations, self.predictions)


def _counts(version: Any) -> bool:
    return isinstance(version, dict) and not version.get("was_cancelled")


def _latest_regions(*lists: Any) -> list[dict[str, Any]]:
    """Returns the regions of what changed last in the first list that has anything."""
    for versions in lists:
        # A skipped task has an annotation without regions.
        readable = [one for one in versions if _counts(one)] if isinstance(versions, list) else []
        if readable:
            result = max(readable, key=lambda version: str(version.get("updated_at", ""))).get("result")
            return [region for region in result if isinstance(region, dict)] if isinstance(result, list) else []
    return []


class DrawnRegionsRequest(Payload):
    """`POST /predict`, parsed only for what is already drawn."""

    tasks: list[DrawnRegions]


class Params(Payload):
    """`context` holds the annotator's prompts under `result`; None for whole images."""

    context: dict[str, Any] | None = None


class PredictRequest(Payload):
    """`POST /predict`."""

    tasks: list[Task]
    label_config: str
    project_id: ProjectId = Field(None, alias="project")
    params: Params = Params()
    _body: bytes = PrivateAttr(b"")

    @classmethod
    def read(cls, body: bytes) -> PredictRequest:
        """Parses the request from a JSON body.

        Raises:
            pydantic.ValidationError: the body holds no such request.
        """
        return cls.model_validate_json(body).keep(body)

    def keep(self, body: bytes) -> PredictRequest:
        """Keeps the JSON body that the request was parsed from, for `drawn`; returns the request."""
        self._body = body
        return self

    def drawn(self) -> DrawnRegions:
        """What is drawn in the first task. Parsed on demand: it may be hundreds of regions that most answers ignore."""
        return DrawnRegionsRequest.model_validate_json(self._body).tasks[0] if self._body else DrawnRegions()

    @property
    def context(self) -> dict[str, Any] | None:
        """The annotator's prompts; None if the request is for whole images."""
        context = self.params.context
        result = context.get("result") if context else None
        return context if isinstance(result, list) and result else None


class SetupRequest(Payload):
    """`POST /setup` and `/validate`; `schema_` is the label config."""

    schema_: str = Field(alias="schema")
    project_id: ProjectId = Field(None, alias="project")


class ValidateRequest(Payload):
    """`POST /validate`; Label Studio's connector sends the label config as `config`, some clients as in `/setup`."""

    config: str = Field(validation_alias=AliasChoices("config", "schema"))


class VersionsRequest(Payload):
    """`POST /versions`."""

    project_id: ProjectId = Field(None, alias="project")


class WebhookProject(Payload):
    """The project that a webhook is about."""

    id: Number


def _id_of_task(task: Any) -> Any:
    return task.get("id") if isinstance(task, dict) else task


TaskId = Annotated[Number, BeforeValidator(_id_of_task, json_schema_input_type=dict[str, Any])]


def _single(annotation: Any) -> Any:
    # Label Studio sends a list where predictions became annotations.
    return None if isinstance(annotation, list) else annotation


Annotation = Annotated[
    dict[str, Any] | None, BeforeValidator(_single, json_schema_input_type=dict[str, Any] | list[Any] | None)
]


class WebhookEvent(Payload):
    """`POST /webhook`, read only as a hint that something changed: Label Studio is then asked for the facts."""

    action: str
    # None where all tasks of a project are deleted, and from webhooks that send no payload.
    project: WebhookProject | None = None
    # The ids alone: an import has tens of thousands of tasks.
    task_ids: list[TaskId] = Field(default_factory=list, alias="tasks")
    annotation: Annotation = None

    @property
    def project_id(self) -> int | None:
        """Id of the project; None where Label Studio does not name it."""
        return self.project.id if self.project else None
