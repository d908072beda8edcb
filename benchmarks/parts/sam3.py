"""SAM 3 from HTTP in to HTTP out, on a 2-megapixel photograph: the second click, and what of it is not the model.

Its mask becomes a polygon also in a plain way: enlarged by PyTorch, as Ultralytics does, and outlined as in `polygon`.
Beside it what is ours in how the model computes: its encoder's precision on a CPU, and attention over an image.

The weights are those of `SAM3_WEIGHTS`, else drawn at random at full size: the model's times do not depend on what they
are. What an untrained decoder answers is noise, though, which no polygon is made for: the decoder runs, and the logits
of a drawn garment take the place of its answer.
"""

from __future__ import annotations

import json
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import httpx
import numpy as np
import torch
import uvicorn

from backend.app import create_app
from backend.domain import Image
from backend.regions.polygons import mask_to_outlines
from backend.segmenters.sam3 import Sam3Segmenter, enlarged
from backend.segmenters.sam3_checkpoint import Sam3
from backend.service import Service
from backend.settings import Settings
from benchmarks.parts.polygon import OUTLINING, douglas_peucker
from benchmarks.random_weights import random_sam3
from benchmarks.table import Row, Timing, faster, timed
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette_xml import GARMENTS, palette

SIZE_WH = (1224, 1634)
CLICKS = 40
ENCODES = 2
REGIONS = 100
LOADING_S = 600


def measure() -> list[Row]:
    """Second clicks against encoding again, against the decoder alone, and with a task that carries 100 regions."""
    settings = Settings()
    with tempfile.TemporaryDirectory() as folder:
        weights = settings.sam3_weights or str(random_sam3(Path(folder)))
        for number in range(ENCODES + 1):
            _write_photograph(Path(folder), number)
        with _serving(settings, weights, Path(folder)) as (service, client):
            segmenter = service.interactive.segmenter.get(timeout_s=LOADING_S)
            assert isinstance(segmenter, Sam3Segmenter)
            decoder = _Decoder(segmenter, None if settings.sam3_weights else _garment_logits())
            return [*_measured(client, decoder), _outlined(), *_of_the_model(segmenter)]


def _measured(client: httpx.Client, decoder: _Decoder) -> list[Row]:
    answers = [_post(client, _request(number, [(0.4, 0.4)])) for number in range(ENCODES + 1)]
    # The first image also pays for what the first run prepares.
    encoding = Timing(float(np.median(answers[1:])), float(max(answers[1:])), ENCODES)

    empty: list[float] = []
    carrying: list[float] = []
    decoding: list[float] = []
    outside: list[float] = []
    # In turn, so that what else the machine does meets both alike.
    for number in range(CLICKS + 1):
        before = decoder.seconds
        empty.append(_post(client, _clicked_twice(number)))
        decoding.append(decoder.seconds - before)
        outside.append(empty[-1] - decoding[-1])
        carrying.append(_post(client, _clicked_twice(number, drafts=[_draft()])))
    second = _timing(empty)
    return [
        faster("SAM 3, HTTP to HTTP: second click / click that encodes the image", second, encoding),
        faster(
            "SAM 3, second click, HTTP to HTTP: all beside the decoder / the decoder alone",
            _timing(outside),
            _timing(decoding),
        ),
        faster("SAM 3, second click: task carries 100 regions / carries none", _timing(carrying), second),
    ]


def _outlined() -> Row:
    """From a decoder's answer to polygons."""
    logits = _garment_logits()

    def plain(_: int) -> object:
        large = torch.nn.functional.interpolate(logits[None, None], SIZE_WH[::-1], mode="bilinear")
        return douglas_peucker((large[0, 0] > 0).numpy())

    ours = timed(lambda _: mask_to_outlines(enlarged(logits, SIZE_WH), OUTLINING), CLICKS)
    return faster(
        "SAM 3, logits to polygons: ours / PyTorch's enlargement, Douglas-Peucker", ours, timed(plain, CLICKS)
    )


def _of_the_model(segmenter: Sam3Segmenter) -> list[Row]:
    """Each in turn with the plain way, on one image, without what is kept."""
    image = Image(draw_figure(0).pixels, key="measured", source="a drawing")
    sam3 = segmenter._sam3
    segmenter.prepare(image)

    def look(_: int) -> object:
        return segmenter.find_words(image, ["saree"], min_score=0)

    phrase = timed(look, ENCODES)
    with _attention_with_weights(sam3):
        rows = [
            faster("SAM 3, a phrase: torch's fused attention / Ultralytics' own", phrase, timed(look, ENCODES)),
        ]
    if sam3.precision is torch.bfloat16:
        encoding = timed(lambda _: segmenter._encode(image), ENCODES)
        segmenter._sam3 = replace(sam3, precision=torch.float32)
        exactly = timed(lambda _: segmenter._encode(image), ENCODES)
        rows.append(faster("SAM 3 encodes an image on a CPU: bfloat16 / float32", encoding, exactly))
    return rows


@contextmanager
def _attention_with_weights(sam3: Sam3) -> Iterator[None]:
    """As Ultralytics computes the attention of each pixel to each: it asks for the weights, and leaves them."""

    def ask(_: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "need_weights": True}

    layers = sam3.concept.model.transformer.encoder.layers
    hooks = [layer.self_attn.register_forward_pre_hook(ask, with_kwargs=True) for layer in layers]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _timing(seconds: list[float]) -> Timing:
    """Of all but the first, which warms up."""
    return Timing(float(np.median(seconds[1:])), float(np.percentile(seconds[1:], 95)), len(seconds) - 1)


class _Decoder:
    """The model's own decoder, its time added up; `answer` takes the place of what it answers."""

    def __init__(self, segmenter: Sam3Segmenter, answer: torch.Tensor | None) -> None:
        self.seconds = 0.0
        self._answer = answer
        self._decode = segmenter._sam3.clicks._inference_features
        segmenter._sam3.clicks._inference_features = self

    def __call__(self, *args: Any, **kwargs: Any) -> tuple[torch.Tensor, torch.Tensor]:
        started = time.perf_counter()
        masks, scores = self._decode(*args, **kwargs)
        self.seconds += time.perf_counter() - started
        return masks if self._answer is None else self._answer.expand_as(masks), scores


def _garment_logits() -> torch.Tensor:
    """`(288, 288)`: positive on the largest garment of the first photograph, with a border as soft as a decoder's."""
    garment = max((instance.mask for instance in draw_figure(0).instances), key=np.count_nonzero)
    small = cv2.resize(garment.astype(np.float32), (288, 288), interpolation=cv2.INTER_AREA)
    return torch.from_numpy(20 * cv2.GaussianBlur(small, (0, 0), 1) - 10)


def _write_photograph(folder: Path, number: int) -> None:
    large = cv2.resize(draw_figure(number).pixels, SIZE_WH, interpolation=cv2.INTER_CUBIC)
    cv2.imwrite(str(folder / f"{number}.jpg"), large[..., ::-1])


def _request(image: int, points: list[tuple[float, float]], **task: Any) -> dict[str, Any]:
    common = {"to_name": "image", "original_width": SIZE_WH[0], "original_height": SIZE_WH[1], "image_rotation": 0}
    regions = []
    for number, (x, y) in enumerate(points):
        value = {"x": 100 * x, "y": 100 * y, "width": 0.4}
        shape = {**common, "id": f"k{number}", "from_name": "click", "type": "keypoint", "is_positive": True}
        label = {**shape, "from_name": "garment", "type": "labels"}
        regions += [{**shape, "value": value}, {**label, "value": {**value, "labels": ["saree"]}}]
    return {
        "tasks": [{"id": 1, "data": {"image": f"/{image}.jpg"}, **task}],
        "label_config": palette(GARMENTS),
        "params": {"context": {"result": regions}},
    }


def _clicked_twice(number: int, **task: Any) -> dict[str, Any]:
    """The first click is that which was answered before; the second is new each time."""
    return _request(0, [(0.4, 0.4), (0.3 + 0.003 * number, 0.5)], **task)


def _draft() -> dict[str, Any]:
    """A hundred accepted polygons of sixty points."""
    turn = np.linspace(0, 2 * np.pi, 60, endpoint=False)
    regions = []
    for number in range(REGIONS):
        left, top = 5 + 9 * (number % 10), 5 + 9 * (number // 10)
        points = [[left + 4 * float(np.cos(angle)), top + 4 * float(np.sin(angle))] for angle in turn]
        common = {"id": f"r{number}", "to_name": "image", "original_width": SIZE_WH[0], "original_height": SIZE_WH[1]}
        value = {"points": points, "closed": True}
        regions.append({**common, "from_name": "polygon", "type": "polygon", "value": value})
        regions.append({**common, "from_name": "garment", "type": "labels", "value": {**value, "labels": ["saree"]}})
    return {"id": 1, "result": regions, "updated_at": "2026-11-20T10:00:00Z"}


def _post(client: httpx.Client, request: dict[str, Any]) -> float:
    """Seconds until the answer is there; an answer without a region would be no measurement."""
    body = json.dumps(request).encode()
    started = time.perf_counter()
    answer = client.post("/predict", content=body, headers={"Content-Type": "application/json"})
    taken = time.perf_counter() - started
    (result,) = answer.raise_for_status().json()["results"]
    kinds = {region["type"] for region in result["result"]}
    if "polygon" not in kinds:
        raise RuntimeError(f"The click was not answered: {result}")
    return taken


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""


@contextmanager
def _serving(settings: Settings, weights: str, folder: Path) -> Iterator[tuple[Service, httpx.Client]]:
    """The backend, and the photographs in place of a Label Studio's, each on a port of its own."""
    photographs = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, directory=str(folder)))
    threading.Thread(target=photographs.serve_forever, daemon=True).start()
    overrides = {
        "sam3_weights": weights,
        "segmenter": "sam3",
        "data_dir": folder / "data",
        "prewarm_tasks": 0,
        "label_studio_url": f"http://127.0.0.1:{photographs.server_port}",
        "label_studio_api_key": "0" * 40,
        "basic_auth_user": "",
    }
    app = create_app(settings.model_copy(update=overrides))
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    service: Service = app.state.service
    try:
        service.interactive.segmenter.get(timeout_s=LOADING_S)
        while not server.started and thread.is_alive():
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=LOADING_S) as client:
            yield service, client
    finally:
        server.should_exit = True
        thread.join(20)
        photographs.shutdown()
        photographs.server_close()
