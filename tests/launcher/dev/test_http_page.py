"""The page of HTTP routes is that of the service's own document."""

from __future__ import annotations

import sys

import pytest

from launcher.dev.http_page import PAGE, document, http_page


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 has an older FastAPI, which describes the routes.")
def test_the_page_in_the_docs_is_that_of_the_service() -> None:
    assert PAGE.read_text() == http_page(), "run `make pages`"


def test_every_route_says_what_it_does() -> None:
    operations = {
        f"{method.upper()} {path}": operation
        for path, methods in document()["paths"].items()
        for method, operation in methods.items()
    }
    assert {"POST /predict", "POST /webhook", "GET /status", "GET /live"} <= operations.keys()
    assert all(operation["description"].endswith(".") for operation in operations.values())


def test_a_body_names_its_fields() -> None:
    assert "| `POST /predict` |  | `tasks`, `label_config`, `[project]`, `[params]` |" in http_page()
    assert "| `POST /webhook` |  | `action`, `[project]`, `[tasks]`, `[annotation]` |" in http_page()
