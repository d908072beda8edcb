"""The live page's routes: the page, its assets, what answers a frame, and what stores a photograph as a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from anyio.to_thread import run_sync
from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, Response
from fastapi.routing import APIRoute

from backend.errors import DrapeError, NotFoundError
from backend.label_studio.label_config import parse_label_config
from backend.label_studio.payloads import Number
from backend.live.frames import Frames
from backend.live.recent_configs import RecentConfigs
from backend.live.tried import TriedPhotograph, store_tried
from backend.page.routes import HEADERS, POLICY
from backend.registry.registry import Version
from backend.service import Service
from backend.templates import template
from backend.web.admission import BATCHES, FRAMES, Lanes
from backend.web.authentication import LIVE, asks_for_page
from backend.web.body_limit import limited_body
from backend.web.same_site import require_same_site

FOLDER = Path(__file__).parent
SCRIPTS = ("live.js", "sources.js", "drawing.js")
ASSETS = {"live.css": "text/css", **dict.fromkeys(SCRIPTS, "text/javascript")}
# A frame of 640 pixels is a tenth of this.
FRAME_MAX_BYTES = 4_000_000
# A video that the user picks in the page has an address of the kind `blob:`; no other page and no server has it.
LIVE_HEADERS = {**HEADERS, "Content-Security-Policy": f"{POLICY}; media-src blob:"}


@dataclass(frozen=True)
class LivePage:
    """Everything on the page.

    Attributes:
        projects: project id → title, of all projects with a model.
        versions: the project's, newest first.
        current, right: names of the champion, and of the version to compare it with; '' for none.
        labels: the label config's.
        photograph_max_bytes: the size of the largest file that can become a task.
        problem: why nothing can be tried; '' where it can.
    """

    project_id: int | None
    projects: dict[int, str]
    title: str = ""
    versions: tuple[Version, ...] = ()
    current: str = ""
    right: str = ""
    labels: tuple[str, ...] = ()
    tasks_url: str = ""
    problem: str = ""
    photograph_max_bytes: int = 0


def live_routes(service: Service, lanes: Lanes, route_class: type[APIRoute]) -> APIRouter:
    """Returns the routes; their class checks credentials, but for a program that asks whether the service runs."""
    routes, page = APIRouter(route_class=route_class), template(FOLDER / "live.html.jinja")
    connections = service.connections
    frames, configs = Frames(connections.registry, connections.settings), RecentConfigs(connections.label_studio)
    batch = replace(service.batch, detectors=frames.detectors)
    same_site = [Depends(require_same_site)]

    @routes.get(LIVE)
    async def live(request: Request, project: Number | None = None) -> Response:
        """The live page for a browser; to all others only that the service runs, with 204, without credentials."""
        if not asks_for_page(request):
            return Response(status_code=204)

        def answer() -> Response:
            content, status = _page(service, project)
            return HTMLResponse(page.render(page=content), status_code=status, headers=LIVE_HEADERS)

        return await run_sync(answer)

    @routes.get("/live/{name}")
    def live_asset(name: str) -> Response:
        """Style and scripts of the live page."""
        if name not in ASSETS:
            raise NotFoundError(f"There is no file '{name}'.")
        return FileResponse(FOLDER / name, media_type=ASSETS[name])

    @routes.post("/projects/{project_id}/live/frame", dependencies=same_site)
    async def frame(request: Request, project_id: Number, version: str = "") -> Response:
        """Garments that a model version sees in the picture that is the body, as outlines; nothing is stored."""
        encoded = await limited_body(request, max_bytes=FRAME_MAX_BYTES, what="frame")

        def answer(_: float) -> dict[str, Any]:
            return asdict(frames.see(project_id, configs.get(project_id), encoded, version_name=version))

        return JSONResponse(await lanes.run(FRAMES, answer))

    @routes.post("/projects/{project_id}/live/task", dependencies=same_site)
    async def task(request: Request, project_id: Number, name: str, version: str = "") -> Response:
        """Stores the photograph that is the body as a task of that file name, with a model version's prediction."""
        limit = connections.settings.image_max_bytes
        photograph = TriedPhotograph(name, await limited_body(request, max_bytes=limit, what="photograph"))

        def answer(_: float) -> dict[str, Any]:
            stored = store_tried(
                batch,
                connections.label_studio,
                configs.get(project_id),
                photograph,
                project_id=project_id,
                version_name=version,
            )
            tasks_url = connections.settings.tasks_url(project_id)
            return {**asdict(stored), "url": f"{tasks_url}?task={stored.task_id}" if tasks_url else ""}

        return JSONResponse(await lanes.run(BATCHES, answer))

    return routes


def _page(service: Service, asked: int | None) -> tuple[LivePage, int]:
    """The page's content, and its HTTP status."""
    registry, settings = service.connections.registry, service.connections.settings
    surveys = service.project_status.latest_surveys()
    numbers = [one for one in registry.project_ids() if one not in service.project_status.gone()]
    projects = {one: surveys[one].title if one in surveys else f"Project {one}" for one in numbers}
    project_id = asked if asked is not None else next(iter(projects), None)
    if project_id is None:
        return LivePage(None, projects, problem="No project has a model yet."), 200
    content = LivePage(project_id, projects, tasks_url=settings.tasks_url(project_id))
    try:
        project = service.connections.label_studio.project(project_id)
        versions = tuple(reversed(registry.versions(project_id)))
        champion = registry.champion(project_id)
        content = replace(
            content,
            title=project.title,
            versions=versions,
            current=champion.name if champion else "",
            right=_compared(versions, champion),
            labels=parse_label_config(project.label_config).label_values,
            photograph_max_bytes=min(settings.image_max_bytes, settings.request_max_bytes),
        )
    except DrapeError as e:
        return replace(content, problem=str(e)), e.http_status
    return content, 200


def _compared(versions: Sequence[Version], champion: Version | None) -> str:
    """The name of the version to compare with the champion: its parent, else the newest other."""
    others = [version.name for version in versions if champion is None or version.name != champion.name]
    if champion is not None and champion.parent in others:
        return champion.parent
    return next(iter(others), "") if champion is not None else ""
