"""The review sheet's routes: the page with one sheet, its assets, and what approves and undoes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Query
from fastapi.responses import FileResponse, HTMLResponse, Response
from fastapi.routing import APIRoute
from pydantic import Field

from backend.errors import DrapeError, NotFoundError
from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.payloads import Number, Payload
from backend.page.routes import HEADERS
from backend.review.approval_mark import approval_mark
from backend.review.approve import Approver, undo
from backend.review.sheet import SIZE, Place, Sheet, read_sheet
from backend.review.thumbnails import Thumbnails
from backend.service import Service
from backend.templates import template
from backend.web.same_site import require_same_site

FOLDER = Path(__file__).parent
ASSETS = {"review.css": "text/css", "review.js": "text/javascript"}
MAX_SECONDS = 3600.0
EMPTY = Sheet((), None)
# Ids in one address: more tasks of exactly the same score than this are not told apart.
MAX_SEEN = 200

Score = Annotated[float | None, Query(allow_inf_nan=False)]
TaskIds = Annotated[list[Number], Query(max_length=MAX_SEEN)]


class Approval(Payload):
    """Predictions that a person approved.

    Attributes:
        by: Label Studio's number of the person.
        seconds: how long each image was looked at, on average.
        predictions: task id → prediction id.
    """

    by: Number
    seconds: float = Field(0.0, ge=0, le=MAX_SECONDS, allow_inf_nan=False)
    predictions: dict[Number, Number] = Field(max_length=SIZE)


class StoredAnnotation(Payload):
    """An annotation as it was stored: nobody has changed it while `updated_at` is the same."""

    id: Number
    updated_at: str


class Undoing(Payload):
    """Annotations to delete: task id → annotation."""

    annotations: dict[Number, StoredAnnotation] = Field(max_length=SIZE)


@dataclass(frozen=True)
class ReviewPage:
    """Everything on the page.

    Attributes:
        members: user id → name; empty on all pages but the first, of which only the sheet is used.
        next_url: the address of the next sheet; '' after the last.
        problem: why there is no sheet; '' where there is one.
    """

    project_id: int
    title: str = ""
    version: str = ""
    members: dict[int, str] | None = None
    sheet: Sheet = EMPTY
    next_url: str = ""
    tasks_url: str = ""
    problem: str = ""


def review_routes(service: Service, route_class: type[APIRoute]) -> APIRouter:
    """Returns the routes; their class checks credentials."""
    routes, page = APIRouter(route_class=route_class), template(FOLDER / "review.html.jinja")
    thumbnails, label_studio = Thumbnails(service.batch.images), service.connections.label_studio
    keys = [Depends(require_same_site)]

    @routes.get("/review")
    def review(project: Number, up_to: Score = None, seen: TaskIds = []) -> Response:  # noqa: B006
        """The review sheet for a browser: predictions that nobody has approved, from a score on, less those seen."""
        try:
            content, status = _page(service, thumbnails, project, Place(up_to, tuple(seen))), 200
        except DrapeError as e:
            content = ReviewPage(project, tasks_url=service.connections.settings.tasks_url(project), problem=str(e))
            status = e.http_status
        return HTMLResponse(page.render(page=content), status_code=status, headers=HEADERS)

    @routes.get("/review/{name}")
    def review_asset(name: str) -> Response:
        """Style and script of the review sheet."""
        if name not in ASSETS:
            raise NotFoundError(f"There is no file '{name}'.")
        return FileResponse(FOLDER / name, media_type=ASSETS[name])

    @routes.post("/projects/{project_id}/review/approve", dependencies=keys)
    def approve(project_id: Number, body: Approval) -> list[dict[str, Any]]:
        """Stores predictions as annotations of the person who approved them; says what became of each task."""
        config = label_studio.project(project_id).label_config
        approver = Approver(
            label_studio,
            project_id,
            label_studio.members(),
            person=body.by,
            mark=approval_mark(service.connections.settings.for_project(project_id), config),
            seconds=body.seconds,
        )
        return [asdict(outcome) for outcome in approver.approve(body.predictions)]

    @routes.post("/projects/{project_id}/review/undo", dependencies=keys)
    def undo_approval(project_id: Number, body: Undoing) -> list[dict[str, Any]]:
        """Deletes annotations that the sheet stored, unless somebody has changed them; says what became of each."""
        stored = {task_id: (one.id, one.updated_at) for task_id, one in body.annotations.items()}
        return [asdict(outcome) for outcome in undo(label_studio, project_id, stored)]

    return routes


def _page(service: Service, thumbnails: Thumbnails, project_id: int, place: Place) -> ReviewPage:
    settings, label_studio = service.connections.settings, service.connections.label_studio
    version = service.connections.registry.champion(project_id)
    project = label_studio.project(project_id)
    # Said before anybody has looked at a picture.
    approval_mark(settings.for_project(project_id), project.label_config)
    sheet = EMPTY
    if version is not None:
        sheet = read_sheet(
            label_studio,
            thumbnails,
            project_id=project_id,
            version=version.name,
            config=parse_label_config(project.label_config),
            place=place,
        )
    return ReviewPage(
        project_id,
        title=project.title,
        version=version.name if version else "",
        members=_members(label_studio, place),
        sheet=sheet,
        next_url=_address(project_id, sheet.after) if sheet.after else "",
        tasks_url=settings.tasks_url(project_id),
    )


def _members(label_studio: LabelStudio, place: Place) -> dict[int, str]:
    return label_studio.members() if place == Place() else {}


def _address(project_id: int, place: Place) -> str:
    place_query = {"up_to": place.score, "seen": place.seen[-MAX_SEEN:]}
    return f"/review?{urlencode({'project': project_id, **place_query}, doseq=True)}"
