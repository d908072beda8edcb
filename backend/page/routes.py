"""The status page's routes: the page, its assets, the models' reports, and its buttons."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlencode

from fastapi import APIRouter, Depends, Request
from fastapi.responses import FileResponse, HTMLResponse, JSONResponse, RedirectResponse, Response
from fastapi.routing import APIRoute

from backend.connections import promote_and_prelabel
from backend.errors import NotFoundError
from backend.page.overview import overview
from backend.page.render import StatusPage
from backend.registry.records import report_path
from backend.service import Service
from backend.web.authentication import asks_for_page
from backend.web.same_site import require_same_site

ASSETS = {"status.css": "text/css", "status.js": "text/javascript", "idiomorph.min.js": "text/javascript"}
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; connect-src 'self'; "
    "img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
# Messages about a pressed button. The address holds only the key, so that no link can put other text on the page.
NOTICES = {
    "promoted": "The project now uses another model, which pre-annotates all tasks that nobody has annotated.",
    "queued": "A training is queued.",
    "running": "A training is already queued or running.",
    "ended": "The training was stopped. The current model stays in use.",
    "nothing": "No training is queued or running.",
}
HEADERS = {"Content-Security-Policy": POLICY, "Cache-Control": "no-store", "Referrer-Policy": "same-origin"}
REPORT_POLICY = (
    "default-src 'none'; img-src data:; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'; sandbox allow-popups allow-top-navigation-by-user-activation"
)


def page_routes(service: Service, route_class: type[APIRoute]) -> APIRouter:
    """Returns the routes; their class checks credentials."""
    routes, page = APIRouter(route_class=route_class), StatusPage()
    button = [Depends(require_same_site)]
    registry, queues = service.connections.registry, service.connections.queues

    @routes.get("/")
    def status_page(request: Request, project: int | None = None, said: str = "") -> Response:
        """The status page for a browser; to all others what `GET /health` says."""
        if not asks_for_page(request):
            # Like Label Studio's reference backend.
            return JSONResponse(service.health())
        return HTMLResponse(page.render(overview(service, project), notice=NOTICES.get(said, "")), headers=HEADERS)

    @routes.get("/assets/{name}")
    def asset(name: str) -> Response:
        """Style and scripts of the status page."""
        if name not in ASSETS:
            raise NotFoundError(f"There is no file '{name}'.")
        return FileResponse(Path(__file__).parent / name, media_type=ASSETS[name])

    @routes.get("/projects/{project_id}/versions/{name}/report")
    def report(project_id: int, name: str) -> Response:
        """The report on a model version, as HTML."""
        path = report_path(registry.version(project_id, name))
        headers = {"Content-Security-Policy": REPORT_POLICY}
        return HTMLResponse(path.read_text(), headers=headers)

    @routes.post("/projects/{project_id}/versions/{name}/promote", dependencies=button)
    def promote(project_id: int, name: str) -> Response:
        """Makes a version the project's current one and has it pre-annotate; leads back to the status page."""
        promote_and_prelabel(registry, queues, project_id, name)
        return _redirect(project_id, "promoted")

    @routes.post("/projects/{project_id}/rollback", dependencies=button)
    def rollback(project_id: int) -> Response:
        """Goes back to the version that was current when this one was made; leads back to the status page."""
        promote_and_prelabel(registry, queues, project_id, registry.version_before(project_id).name)
        return _redirect(project_id, "promoted")

    @routes.post("/projects/{project_id}/train", dependencies=button)
    def train(project_id: int) -> Response:
        """Queues a training; leads back to the status page."""
        queued = queues.enqueue_training(project_id, reason="asked for on the status page")
        return _redirect(project_id, "queued" if queued else "running")

    @routes.post("/projects/{project_id}/train/cancel", dependencies=button)
    def cancel(project_id: int) -> Response:
        """Ends the training that waits or runs; leads back to the status page."""
        return _redirect(project_id, "ended" if queues.cancel_training(project_id) else "nothing")

    return routes


def _redirect(project_id: int, notice: str) -> Response:
    return RedirectResponse(f"/?{urlencode({'project': project_id, 'said': notice})}", status_code=303)
