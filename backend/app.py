"""The HTTP service: routes without logic, by the conventions of Label Studio's ML backends."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, Any

from anyio.to_thread import run_sync
from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.types import ASGIApp, Lifespan

from backend.errors import DrapeError, OverloadedError
from backend.label_studio.payloads import (
    Payload,
    PredictRequest,
    SetupRequest,
    ValidateRequest,
    VersionsRequest,
    WebhookEvent,
)
from backend.live.routes import live_routes
from backend.page.routes import page_routes
from backend.review.routes import review_routes
from backend.service import Service
from backend.settings import Settings
from backend.telemetry.request_ids import RequestIds
from backend.web.admission import BATCHES, CLICKS, Lanes
from backend.web.authentication import WEBHOOK, Unauthorized, authenticated_routes
from backend.web.body_limit import BodyLimit
from backend.web.json_body import json_body
from backend.web.same_site import require_same_site

logger = logging.getLogger(__name__)

# Label Studio's User-Agent begins so. Its page shows nothing for an error status: it gets the reason in a result.
LABEL_STUDIO_AGENT = "heartex/"
PREDICT = "/predict"


class _App(FastAPI):
    """FastAPI with `RequestIds` outside all other middleware: answers to unforeseen errors carry the id too."""

    def __init__(self, *, max_bytes: int, lifespan: Lifespan[FastAPI]) -> None:
        super().__init__(title="Drape", docs_url=None, redoc_url=None, openapi_url=None, lifespan=lifespan)
        self._max_bytes = max_bytes

    def build_middleware_stack(self) -> ASGIApp:
        return RequestIds(BodyLimit(super().build_middleware_stack(), max_bytes=self._max_bytes))


def _documented(body: type[Payload], path: str) -> dict[str, Any]:
    """The part of the OpenAPI document that FastAPI cannot derive, since `json_body` reads the body itself."""
    schema = body.body_schema_at(f"#/paths/~1{path[1:]}/post/requestBody/content/application~1json/schema")
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


async def parse_predict_request(
    request: Request, body: Annotated[PredictRequest, Depends(json_body(PredictRequest))]
) -> PredictRequest:
    """Parses the body, and keeps it: what is drawn is parsed only when it is needed."""
    return body.keep(await request.body())


def create_app(settings: Settings) -> FastAPI:
    """Creates the service as an ASGI application; the segmenter loads in the background."""
    service = Service.build(settings)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await run_sync(service.close)

    app = _App(max_bytes=settings.request_max_bytes, lifespan=lifespan)
    # Every route checks credentials, by its class.
    app.router.route_class = authenticated_routes(settings)
    metrics = service.metrics
    lanes = Lanes(settings, metrics)
    app.state.service = service
    _handle_errors(app)

    app.include_router(page_routes(service, app.router.route_class))
    app.include_router(review_routes(service, app.router.route_class))
    app.include_router(live_routes(service, lanes, app.router.route_class))

    @app.get("/health")
    def health() -> dict[str, Any]:
        """Says that the service runs, and which segmenter answers clicks."""
        return service.health()

    @app.post("/setup")
    def setup(body: SetupRequest) -> dict[str, Any]:
        """Checks a label config; returns the model version for Label Studio to show."""
        return service.setup(project_id=body.project_id, label_config=body.schema_)

    @app.post(
        PREDICT,
        dependencies=[Depends(require_same_site)],
        openapi_extra=_documented(PredictRequest, PREDICT),
    )
    async def predict(
        request: Request, body: Annotated[PredictRequest, Depends(parse_predict_request)]
    ) -> JSONResponse:
        """Regions for an annotator's prompt (`params.context`), else predictions for whole images."""

        def answer(remaining_s: float) -> JSONResponse:
            results = service.predict(body, deadline_s=remaining_s)
            # A finished response: FastAPI would validate and copy every number of a plain dictionary.
            model_version = service.project_status.model_version(body.project_id)
            return JSONResponse({"results": results, "model_version": model_version})

        try:
            return await lanes.run(CLICKS if body.context else BATCHES, answer)
        except OverloadedError as e:
            if body.context and request.headers.get("user-agent", "").startswith(LABEL_STUDIO_AGENT):
                return JSONResponse({"results": [service.explain_refusal(body, str(e))]})
            raise

    @app.post(
        WEBHOOK,
        status_code=201,
        dependencies=[Depends(require_same_site)],
        openapi_extra=_documented(WebhookEvent, WEBHOOK),
    )
    async def webhook(body: Annotated[WebhookEvent, Depends(json_body(WebhookEvent))]) -> dict[str, str]:
        """Takes an event of Label Studio, queues the work that it calls for, and returns that work's name."""
        # On the event loop where possible: `webhook` never blocks, and a thread would compete with those that compute.
        return {"queued": await run_sync(service.webhook, body) if service.is_slow(body) else service.webhook(body)}

    @app.post("/versions")
    @app.get("/versions")
    def versions(body: VersionsRequest | None = None) -> dict[str, Any]:
        """Names of a project's model versions, oldest first; of all projects, where none is named."""
        return {"versions": service.project_status.versions(body.project_id if body else None)}

    @app.get("/status")
    def status() -> dict[str, Any]:
        """Projects with their models, queues, jobs with their progress, and the last problems."""
        return service.status()

    @app.get("/job_status")
    @app.post("/job_status")
    def job_status() -> dict[str, Any]:
        """The queues alone, as `GET /status` has them."""
        return service.status()["queues"]  # type: ignore[no-any-return]

    @app.post("/validate")
    def validate(body: ValidateRequest) -> dict[str, str]:
        """Checks a label config."""
        service.setup(project_id=None, label_config=body.config)
        return {"status": "ok"}

    @app.post("/duplicate_model")
    def duplicate_model() -> dict[str, str]:
        """Does nothing: a copied project starts without a model."""
        return {"status": "ok", "detail": "Models are not copied: a copied project starts without a model."}

    @app.post("/delete")
    def delete() -> dict[str, str]:
        """Does nothing: model versions are kept."""
        return {"status": "ok", "detail": "Model versions are kept. Delete their folder to remove them."}

    @app.get("/metrics")
    def prometheus() -> Response:
        """Metrics in Prometheus' format."""
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return app


def _handle_errors(app: FastAPI) -> None:
    @app.exception_handler(Unauthorized)
    def unauthorized(request: Request, error: Unauthorized) -> Response:
        return Response(status_code=401, headers={"WWW-Authenticate": 'Basic realm="drape"'})

    @app.exception_handler(DrapeError)
    def named(request: Request, error: DrapeError) -> JSONResponse:
        logger.warning("%s %s: %s", request.method, request.url.path, error)
        return JSONResponse({"detail": str(error)}, status_code=error.http_status)

    @app.exception_handler(OverloadedError)
    async def overloaded(request: Request, error: OverloadedError) -> JSONResponse:
        headers = {"Retry-After": str(error.retry_after_s)}
        return JSONResponse({"detail": str(error)}, status_code=error.http_status, headers=headers)

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        # The answer names the field and the rule, and never quotes the body, which may hold credentials.
        problems = [f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}" for problem in error.errors()]
        return JSONResponse({"detail": problems}, status_code=422)
