"""The service with SAM 3, small and of random weights, behind real HTTP, with a real Redis."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image as Pillow
from rq import Queue

from backend.domain import LabelledMask, Outlining
from backend.label_studio.label_config import parse_label_config
from backend.regions.decode import decode
from backend.regions.encode import encode
from backend.settings import Settings
from benchmarks.random_weights import random_sam3, small_sam3
from label_studio_config.demo.figures import draw_figure
from tests.backend.conftest import Served, served
from tests.support import recorded, wait_for

pytestmark = pytest.mark.services

CONFIG = """<View>
  <TextArea name="message" toName="image" editable="false"/>
  <TextArea name="prompt" toName="image" smart="true"/>
  <Labels name="garment" toName="image"><Label value="saree" prompt="silk saree"/><Label value="blouse"/>{more}</Labels>
  <Image name="image" value="$image"/>
  <KeyPoint name="click" toName="image" smart="true" smartOnly="true"/>
  <Rectangle name="box" toName="image" smart="true" smartOnly="true"/>
  <Rectangle name="example" toName="image" smart="true" smartOnly="true"/>
  <Polygon name="polygon" toName="image"/>
</View>"""


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    with small_sam3():
        yield random_sam3(tmp_path_factory.mktemp("weights"), seed=1)


@pytest.fixture
def with_sam3(settings: Settings, weights: Path) -> Settings:
    # Below it lies about half of what random weights find.
    return settings.model_copy(update={"sam3_weights": str(weights), "model_score_threshold": 0.2})


@pytest.fixture
def backend(with_sam3: Settings) -> Iterator[Served]:
    """The service, once SAM 3 is loaded."""
    with served(with_sam3) as running:
        wait_for(lambda: running.client.get("/health").json()["segmenter"] == "sam3")
        yield running


def put_figure(folder: Path, seed: int) -> str:
    """A drawn figure; returns its address."""
    path = folder / f"data/upload/1/{seed}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    Pillow.fromarray(draw_figure(seed).pixels).save(path)
    return f"/data/upload/1/{seed}.png"


def request(
    image: str, regions: list[dict[str, Any]] | None, *, more: str = "", task_id: int = 5, **task: Any
) -> dict[str, Any]:
    return {
        "tasks": [{"id": task_id, "data": {"image": image}, "project": 1, **task}],
        "project": "1.17",
        "label_config": CONFIG.format(more=more),
        "params": {"context": {"result": regions} if regions else None},
    }


def written(*words: str) -> dict[str, Any]:
    return {"id": "w", "type": "textarea", "from_name": "prompt", "to_name": "image", "value": {"text": list(words)}}


def click(label: str = "blouse") -> dict[str, Any]:
    value = {"x": 40, "y": 45, "width": 0.4, "labels": [label]}
    return {"id": "k", "type": "keypoint", "from_name": "click", "to_name": "image", "value": value}


def rectangle(from_name: str) -> dict[str, Any]:
    value = {"x": 20, "y": 12, "width": 50, "height": 70, "labels": ["saree"]}
    return {"id": "r", "type": "rectangle", "from_name": from_name, "to_name": "image", "value": value}


def answered(client: httpx.Client, body: dict[str, Any]) -> list[dict[str, Any]]:
    answer = client.post("/predict", json=body)
    assert answer.status_code == 200, answer.text
    regions: list[dict[str, Any]] = answer.json()["results"][0]["result"]
    return regions


def labels(regions: list[dict[str, Any]]) -> set[str]:
    return {region["value"]["labels"][0] for region in regions if region["type"] == "labels"}


@pytest.mark.parametrize(("phrase", "label"), [("silk saree", "saree"), ("Blouse", "blouse"), ("something", "saree")])
def test_words_give_every_instance_under_the_label_that_they_name(
    backend: Served, files: tuple[str, Path], phrase: str, label: str
) -> None:
    regions = answered(backend.client, request(put_figure(files[1], 2), [written(phrase)]))
    assert labels(regions) == {label}
    shapes = [region for region in regions if region["type"] == "polygon"]
    assert len(shapes) > 1 and len({region["id"] for region in shapes}) == len(shapes)
    assert all(0.2 <= region["score"] <= 1 for region in shapes)


def test_words_that_name_no_label_take_the_chosen_one(backend: Served, files: tuple[str, Path]) -> None:
    image = put_figure(files[1], 2)
    chosen = {**written("something"), "value": {"text": ["something"], "labels": ["blouse"]}}
    assert labels(answered(backend.client, request(image, [chosen]))) == {"blouse"}


def test_the_recorded_words_are_answered(backend: Served, files: tuple[str, Path]) -> None:
    body = recorded("predict_text_prompt")
    path = files[1] / str(body["tasks"][0]["data"]["image"]).lstrip("/")
    path.parent.mkdir(parents=True)
    Pillow.fromarray(draw_figure(2).pixels).save(path, format="PNG")
    assert answered(backend.client, body)


def test_an_example_finds_what_is_like_it_and_a_click_beside_it_is_refused(
    backend: Served, files: tuple[str, Path]
) -> None:
    image = put_figure(files[1], 2)
    assert labels(answered(backend.client, request(image, [rectangle("example")]))) == {"saree"}
    assert labels(answered(backend.client, request(image, [rectangle("example"), written("blouse")]))) == {"blouse"}
    (message,) = answered(backend.client, request(image, [rectangle("example"), click()]))
    assert "Remove one of the two" in message["value"]["text"][0]


def test_clicks_and_boxes_are_answered_once_encoded_without_the_image(backend: Served, files: tuple[str, Path]) -> None:
    image = put_figure(files[1], 2)
    first = answered(backend.client, request(image, [click()]))
    (files[1] / image.lstrip("/")).unlink()
    backend.service.interactive.images._cache.clear()
    again = answered(backend.client, request(image, [click()]))
    assert [region["value"] for region in again] == [region["value"] for region in first]
    assert answered(backend.client, request(image, [rectangle("box")]))
    metrics = backend.client.get("/metrics").text
    assert "drape_encode_seconds_count 1.0" in metrics
    assert 'drape_decode_seconds_count{head="clicks"} 3.0' in metrics


def drawn_half(config: str) -> list[dict[str, Any]]:
    """A region over the image's left half, as Label Studio keeps it."""
    mask = np.zeros((560, 640), bool)
    mask[:, :320] = True
    return encode(
        LabelledMask(mask, "saree"), parse_label_config(config), outlining=Outlining(tolerance_px=0), model_version=""
    )


@pytest.mark.parametrize(("exclusive", "where"), [(True, "drafts"), (True, "annotations"), (False, "drafts")])
def test_an_exclusive_label_takes_no_pixel_of_what_is_accepted(
    backend: Served, files: tuple[str, Path], exclusive: bool, where: str
) -> None:
    image = put_figure(files[1], 2)
    more = f'<Label value="shawl" exclusive="{str(exclusive).lower()}"/>'
    body = request(image, [click("shawl")], more=more)
    kept = {"result": drawn_half(body["label_config"]), "updated_at": "2026-11-20T10:00:00Z"}
    older = {"result": [], "updated_at": "2026-11-20T09:00:00Z"}
    body["tasks"][0][where] = [kept, older]
    masks, _ = decode(answered(backend.client, body))
    over = sum(int(one.mask[:, :318].sum()) for one in masks)
    assert masks and (over == 0) is exclusive


def test_sticky_words_are_looked_for_in_the_next_image(with_sam3: Settings, files: tuple[str, Path]) -> None:
    with served(with_sam3.model_copy(update={"sticky_words": True, "prewarm_tasks": 0})) as running:
        wait_for(lambda: running.client.get("/health").json()["segmenter"] == "sam3")
        following = request(put_figure(files[1], 3), None, task_id=6)
        assert running.client.post("/predict", json=following).json()["results"] == [[]]
        first = answered(running.client, request(put_figure(files[1], 2), [written("blouse")]))
        assert first
        suggested = answered(running.client, following)
        assert labels(suggested) == {"blouse"}


def test_without_a_model_words_pre_annotate_in_a_job(backend: Served, files: tuple[str, Path]) -> None:
    body = request(put_figure(files[1], 2), None)
    assert backend.client.post("/predict", json=body).json()["results"] == [[]]
    assert len(Queue("prelabel", connection=backend.service.connections.queues.redis)) == 1


def test_an_opened_task_is_encoded_ahead(backend: Served, files: tuple[str, Path]) -> None:
    image = put_figure(files[1], 4)
    backend.client.post("/predict", json=request(image, None))
    wait_for(lambda: "drape_encode_seconds_count 1.0" in backend.client.get("/metrics").text)
    answered(backend.client, request(image, [click()]))
    assert "drape_encode_seconds_count 1.0" in backend.client.get("/metrics").text
