"""The HTTP service: routes and authentication, no logic. Conventions are those of Label Studio's ML backends."""

from __future__ import annotations

import logging
import secrets
from collections.abc import Callable
from typing import Annotated, Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBasic, HTTPBasicCredentials
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ValidationError

from backend.errors import DrapeError
from backend.service import Service
from backend.settings import Settings
from backend.wire import PredictRequest, SetupRequest, VersionsRequest, WebhookEvent

logger = logging.getLogger(__name__)

SECRET_HEADER = "X-Drape-Secret"
_basic = HTTPBasic(auto_error=False, realm="drape")


class Unauthorized(Exception):
    """Wrong or missing credentials."""


def _same(given: str, expected: str) -> bool:
    return secrets.compare_digest(given.encode(), expected.encode())


def authenticate(settings: Settings, *, webhook: bool = False) -> Callable[..., None]:
    """A dependency that refuses requests without the configured credentials.

    HTTP Basic everywhere; a webhook, to which Label Studio adds headers but no credentials, may carry the secret header
    in its place. Without a configured user (and, for webhooks, secret) all requests pass.
    """

    def check(request: Request, credentials: Annotated[HTTPBasicCredentials | None, Depends(_basic)]) -> None:
        secret = request.headers.get(SECRET_HEADER)
        if webhook and settings.webhook_secret and secret is not None and _same(secret, settings.webhook_secret):
            return
        if credentials is None:
            if settings.basic_auth_user or (webhook and settings.webhook_secret):
                raise Unauthorized
            return
        # Both are compared before the answer, so that its time does not tell which was wrong.
        user_right = _same(credentials.username, settings.basic_auth_user)
        password_right = _same(credentials.password, settings.basic_auth_pass)
        if settings.basic_auth_user and not (user_right and password_right):
            raise Unauthorized

    return check


async def predict_request(request: Request) -> PredictRequest:
    """The body, read by pydantic alone: a task may carry hundreds of regions, and this takes half of FastAPI's time."""
    try:
        return PredictRequest.read(await request.body())
    except ValidationError as e:
        raise RequestValidationError(e.errors()) from e


def create_app(settings: Settings) -> FastAPI:
    """The service as an ASGI application; models load in the background, nothing is fetched yet."""
    app = FastAPI(title="Drape", docs_url=None, redoc_url=None, openapi_url=None)
    service = Service.build(settings)
    metrics = service.metrics
    app.state.service = service
    private = [Depends(authenticate(settings))]
    _handle_errors(app)

    @app.get("/", dependencies=private)
    @app.get("/health", dependencies=private)
    def health() -> dict[str, Any]:
        return {"status": "UP", "model_class": "GarmentModel", "segmenter": service.interactive.segmenter.name}

    @app.post("/setup", dependencies=private)
    def setup(body: SetupRequest) -> dict[str, Any]:
        return {"model_version": service.setup(project_id=body.project_id, label_config=body.schema_)}

    @app.post("/predict", dependencies=private)
    def predict(body: Annotated[PredictRequest, Depends(predict_request)]) -> JSONResponse:
        kind = "interactive" if body.context else "batch"
        with metrics.timed(kind):
            results = service.predict(body)
        # Made here: FastAPI would check and copy each of its numbers first.
        return JSONResponse({"results": results, "model_version": service.model_version(body.project_id)})

    @app.post("/webhook", status_code=201, dependencies=[Depends(authenticate(settings, webhook=True))])
    def webhook(body: WebhookEvent) -> dict[str, str]:
        metrics.webhooks.labels(action=body.action).inc()
        return {"queued": service.webhook(body)}

    @app.post("/versions", dependencies=private)
    @app.get("/versions", dependencies=private)
    def versions(body: VersionsRequest | None = None) -> dict[str, Any]:
        return {"versions": service.versions(body.project_id if body else None)}

    @app.get("/status", dependencies=private)
    def status() -> dict[str, Any]:
        return service.status()

    @app.get("/job_status", dependencies=private)
    @app.post("/job_status", dependencies=private)
    def job_status() -> dict[str, Any]:
        return service.status()["queues"]  # type: ignore[no-any-return]

    @app.post("/validate", dependencies=private)
    def validate(body: SetupRequest) -> dict[str, str]:
        service.setup(project_id=body.project_id, label_config=body.schema_)
        return {"status": "ok"}

    @app.post("/duplicate_model", dependencies=private)
    def duplicate_model() -> dict[str, str]:
        return {"status": "ok", "detail": "A project's models stay with it; a copied project starts with none."}

    @app.post("/delete", dependencies=private)
    def delete() -> dict[str, str]:
        return {"status": "ok", "detail": "Model versions are kept. Delete their folder to remove them."}

    @app.get("/metrics", dependencies=private)
    def prometheus() -> Response:
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

    @app.exception_handler(RequestValidationError)
    def invalid(request: Request, error: RequestValidationError) -> JSONResponse:
        # The field and the rule; never the body, which may hold credentials.
        faults = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in error.errors()]
        return JSONResponse({"detail": faults}, status_code=422)
