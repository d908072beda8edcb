"""Flows cross packages: their fixtures are those of both."""

from tests.backend.conftest import backend, client, client_without_redis, files, settings
from tests.training.conftest import workplace

__all__ = ["backend", "client", "client_without_redis", "files", "settings", "workplace"]
