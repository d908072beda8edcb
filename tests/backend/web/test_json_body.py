from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import httpx
import psutil
import pytest
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, Field
from starlette.requests import Request

from backend.web.json_body import LARGE_BYTES, json_body
from label_studio_config.palette_xml import GARMENTS, palette
from tests.backend.conftest import SECRET


class Parsed(BaseModel):
    """Tells which process has parsed it."""

    number: int
    process: int = Field(default_factory=os.getpid)


def parse(content: dict[str, Any], *, padding: int) -> Parsed:
    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": json.dumps(content).encode() + b" " * padding}

    return asyncio.run(json_body(Parsed)(Request({"type": "http", "headers": []}, receive)))


def test_a_small_body_is_parsed_at_once_and_a_large_one_by_another_process() -> None:
    assert parse({"number": 5}, padding=0) == Parsed(number=5)
    large = parse({"number": 5}, padding=LARGE_BYTES)
    assert (large.number, large.process != os.getpid()) == (5, True)


@pytest.mark.parametrize("padding", [0, LARGE_BYTES])
def test_a_body_that_is_something_else_is_refused_without_a_quotation(padding: int) -> None:
    with pytest.raises(RequestValidationError) as refused:
        parse({"number": "secret"}, padding=padding)
    (problem,) = refused.value.errors()
    assert (problem["loc"], problem["type"], "secret" in str(problem)) == (("number",), "int_parsing", False)


def children() -> set[int]:
    """The processes that this one has started and that run."""
    return {child.pid for child in psutil.Process().children()}


PREDICTION = {"tasks": [], "project": "7.1", "label_config": palette(GARMENTS)}
# An import has more of each task than its id.
IMPORT = {"action": "TASKS_CREATED", "project": {"id": 7}, "tasks": [{"id": 1, "data": "x" * LARGE_BYTES}]}


@pytest.mark.services
@pytest.mark.parametrize(
    ("path", "body"), [("/webhook", IMPORT), ("/predict", {**PREDICTION, "unused": "x" * LARGE_BYTES})]
)
def test_the_service_parses_a_large_body_in_another_process(
    client: httpx.Client, path: str, body: dict[str, Any]
) -> None:
    before = children()
    answer = client.post(path, json=body, headers={"X-Drape-Secret": SECRET})
    assert answer.is_success, answer.text
    assert len(children() - before) == 1
