"""The page of HTTP routes, made from the service's own OpenAPI document: `python -m launcher.dev.http_page`."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from backend.app import create_app
from backend.settings import Settings
from backend.web.authentication import LIVE, WEBHOOK

PAGE = Path(__file__).parent.parent.parent / "docs" / "reference" / "http.md"
HEAD = f"""\
# HTTP routes

This page lists every route of the backend. It is made by `python -m launcher.dev.http_page` from the service's OpenAPI
document; do not edit by hand.

`{LIVE}` is open to everybody. All others want HTTP Basic with `BASIC_AUTH_USER` and `BASIC_AUTH_PASS`; `POST {WEBHOOK}`
may carry the header `X-Drape-Secret` with `WEBHOOK_SECRET` instead. Without `BASIC_AUTH_USER` nobody is asked. The
service does not serve the OpenAPI document itself.

| status | when |
| --- | --- |
| 401 | credentials are missing or wrong |
| 403 | another site's page sent the request |
| 404 | the version or the file that is asked for is not there |
| 413 | the body is larger than `REQUEST_MAX_BYTES` |
| 422 | the body or a parameter has another form; the answer names the field and the rule |
| 503 | too much is asked at once, with `Retry-After`; or a model, Redis or Label Studio is not there |

Errors are JSON: `{{"detail": "a sentence"}}`. Where `POST /predict` cannot answer an annotator's prompt, it answers 200
with the reason in a text region, because Label Studio's page shows nothing of an error. Each answer has the header
`X-Request-ID`.

| route | open | body or parameters | what it does |
| --- | --- | --- | --- |
"""


def document() -> dict[str, Any]:
    """The service's OpenAPI document; nothing is loaded or asked for it."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data_dir=Path(folder), segmenter="classical", sam3_weights="", sam_weights="")
        return create_app(settings).openapi()


def http_page() -> str:
    """The page as Markdown: a row for each route and method, in the order of the application."""
    described = document()
    rows = [
        f"| `{method.upper()} {path}` | {'' if operation.get('security') else 'yes'} | "
        f"{', '.join(f'`{name}`' for name in _given(operation, described))} | {_said(operation)} |"
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    return HEAD + "\n".join(rows) + "\n"


def _said(operation: Mapping[str, Any]) -> str:
    return " ".join(str(operation.get("description", "")).split())


def _given(operation: Mapping[str, Any], described: Mapping[str, Any]) -> Iterator[str]:
    """Names of the parameters in the address and of the fields in the body; in brackets those that may be missing."""
    for parameter in operation.get("parameters", ()):
        yield parameter["name"] if parameter.get("required") else f"[{parameter['name']}]"
    body = operation.get("requestBody")
    if body:
        schema = _resolved(body["content"]["application/json"]["schema"], described)
        required = schema.get("required", ())
        yield from (name if name in required else f"[{name}]" for name in schema["properties"])


def _resolved(schema: Mapping[str, Any], described: Mapping[str, Any]) -> Mapping[str, Any]:
    """The schema itself, where it stands elsewhere in the document, or is one choice beside null."""
    choices = [one for one in schema.get("anyOf", ()) if one.get("type") != "null"]
    named = (choices[0] if choices else schema).get("$ref", "").rpartition("/")[2]
    return described["components"]["schemas"][named] if named else schema


if __name__ == "__main__":
    sys.exit(0 if PAGE.write_text(http_page()) else 1)
