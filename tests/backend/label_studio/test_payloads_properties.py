"""Whatever stands in a request, reading it gives the request or says that it is none."""

from __future__ import annotations

import contextlib
import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from backend.auto_accept.marks import accepted_by
from backend.label_studio.payloads import PredictRequest, SetupRequest, VersionsRequest, WebhookEvent
from backend.regions.exclusive import occupied_pixels
from tests.backend.junk import ANY_JSON, WEBHOOKS, an_object, nearly, predict_bodies, written
from tests.support import recorded


@given(st.one_of(st.binary(max_size=200), predict_bodies("<View/>").map(written), ANY_JSON.map(written)))
def test_a_body_is_a_predict_request_or_is_not(body: bytes) -> None:
    with contextlib.suppress(ValidationError):
        request = PredictRequest.read(body)
        assert request.project_id is None or 0 <= request.project_id < 1 << 63
        if request.tasks:
            assert occupied_pixels(request.drawn(), (40, 30)).shape == (30, 40)


@given(nearly(WEBHOOKS))
def test_a_body_is_a_webhook_or_is_not(body: Any) -> None:
    with contextlib.suppress(ValidationError):
        event = WebhookEvent.model_validate(body)
        assert event.annotation is None or isinstance(accepted_by(event.annotation), str | None)


@given(an_object(schema=st.text(), project=st.text()))
def test_a_body_is_a_setup_request_or_is_not(body: Any) -> None:
    for kind in (SetupRequest, VersionsRequest):
        with contextlib.suppress(ValidationError):
            kind.model_validate(body)


@given(
    st.sampled_from(["webhook_ANNOTATION_CREATED", "webhook_TASKS_CREATED_upload", "webhook_PROJECT_UPDATED"]),
    st.data(),
)
def test_a_recorded_webhook_with_one_thing_changed(name: str, data: st.DataObject) -> None:
    body = json.loads(json.dumps(recorded(name)))
    holders = list(_holders(body))
    holder = data.draw(st.sampled_from(holders))
    if isinstance(holder, dict):
        holder[data.draw(st.sampled_from(sorted(holder)))] = data.draw(ANY_JSON)
    else:
        holder[data.draw(st.integers(0, len(holder) - 1))] = data.draw(ANY_JSON)
    with contextlib.suppress(ValidationError):
        event = WebhookEvent.model_validate(body)
        assert event.annotation is None or isinstance(accepted_by(event.annotation), str | None)


def _holders(value: Any) -> Any:
    """Every object and list in it that holds something."""
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    if inner:
        yield value
    for one in inner:
        yield from _holders(one)
