"""The page of HTTP routes, made from the service's own OpenAPI document: `python -m launcher.dev.http_page`."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from backend.app import create_app
from backend.settings import Settings
from backend.web.authentication import LIVE
from launcher.dev.generated_page import DOCS, markdown_table, with_generated_part

PAGE = DOCS / "reference" / "http.md"


def document() -> dict[str, Any]:
    """The service's OpenAPI document; loads no model and connects to nothing."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), segmenter="builtin", sam3_weights="", sam_weights="")
        return create_app(settings).openapi()


def http_page() -> str:
    """The page as Markdown: a row for each route and method, in the order of the application."""
    openapi = document()
    rows = [
        (
            f"`{method.upper()} {path}`",
            "yes" if path == LIVE else "",
            ", ".join(f"`{name}`" for name in _parameters(operation, openapi)),
            " ".join(operation.get("description", "").split()),
        )
        for path, methods in openapi["paths"].items()
        for method, operation in methods.items()
    ]
    columns = ("route", "open", "body or parameters", "what it does")
    return with_generated_part(PAGE, markdown_table(columns, rows))


def _parameters(operation: Mapping[str, Any], openapi: Mapping[str, Any]) -> Iterator[str]:
    """Names of the parameters in the address and of the fields in the body; optional ones in brackets."""
    for parameter in operation.get("parameters", ()):
        yield parameter["name"] if parameter.get("required") else f"[{parameter['name']}]"
    body = operation.get("requestBody")
    if body:
        schema = _resolve(body["content"]["application/json"]["schema"], openapi)
        required = schema.get("required", ())
        yield from (name if name in required else f"[{name}]" for name in schema["properties"])


def _resolve(schema: Mapping[str, Any], openapi: Mapping[str, Any]) -> Mapping[str, Any]:
    """Follows a reference to a schema elsewhere in the document, also if the schema may be null instead."""
    choices = [choice for choice in schema.get("anyOf", ()) if choice.get("type") != "null"]
    name = (choices[0] if choices else schema).get("$ref", "").rpartition("/")[2]
    return openapi["components"]["schemas"][name] if name else schema


if __name__ == "__main__":
    PAGE.write_text(http_page())
