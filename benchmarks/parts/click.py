"""What a click costs: with the image's embedding kept, as here, against encoding the image for every click.

MobileSAM's architecture with weights initialised at random: the time does not depend on what they are. Drape's own
network is also asked over HTTP, as Label Studio asks, about a photograph of two megapixels.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import cv2
import httpx
import uvicorn

from backend.app import create_app
from backend.compute.quiet_ultralytics import quiet_ultralytics
from backend.domain import Image, LabelledMask, Outlining, Point, Prompt
from backend.errors import ModelError
from backend.label_studio.label_config import parse_label_config
from backend.regions.encode import encode
from backend.segmenters.base import Segmenter
from backend.segmenters.builtin.network import load_builtin
from backend.segmenters.builtin.segmenter import BuiltinSegmenter
from backend.segmenters.embedding_cache import EmbeddingCache
from backend.segmenters.embedding_tiers import MemoryTier
from backend.segmenters.sam import load_sam
from backend.settings import Settings
from backend.telemetry.metrics import Metrics
from benchmarks.random_weights import random_mobile_sam
from benchmarks.table import Row, Timing, faster, timed
from label_studio_config.demo.figures import draw_figure
from label_studio_config.palette_xml import GARMENTS, palette
from launcher.stack.supervisor import free_port

CLICKS = 40
FULL_ENCODES = 12
# A photograph of Ultralytics' package, enlarged to two megapixels.
PHOTOGRAPH, SIZE_WH = "bus.jpg", (1224, 1632)
START_TIMEOUT_S = 60.0


def measure() -> list[Row]:
    """Click to polygon on the CPU: MobileSAM with its embedding kept, and Drape's own network, which keeps none."""
    figure = draw_figure(1)
    config = parse_label_config(palette(GARMENTS))

    def click(segmenter: Segmenter, number: int, key: str) -> None:
        image = Image(figure.pixels, key, "benchmark")
        point = Point(200.0 + number, 300.0 + number)
        for best in segmenter.segment(image, Prompt(points=(point,)))[:1]:
            mask = LabelledMask(best.mask, "saree", best.score)
            encode(mask, config, outlining=Outlining(), model_version="benchmark")

    with tempfile.TemporaryDirectory() as folder:
        embeddings = EmbeddingCache([MemoryTier("host", device="cpu", max_bytes=10**9)], disk=None, metrics=Metrics())
        weights = str(random_mobile_sam(Path(folder)))
        sam = load_sam(weights, device="cpu", embeddings=embeddings, metrics=Metrics())
        kept = timed(lambda number: click(sam, number, "one image"), CLICKS)
        anew = timed(lambda number: click(sam, number, f"image {number} {time.time()}"), FULL_ENCODES)
    own = load_builtin()
    builtin = timed(lambda number: click(own, number, f"image {number} {time.time()}"), CLICKS)
    http = timed_over_http()
    return [
        faster("click over HTTP, two megapixels, CPU: builtin / MobileSAM without HTTP, encoded anew", http, anew),
        faster("click to polygon, MobileSAM on CPU: embedding kept / image encoded at every click", kept, anew),
        faster("click to polygon, CPU: builtin / MobileSAM, image encoded at every click", builtin, anew),
    ]


def timed_over_http() -> Timing:
    """How long the backend takes to answer a first click with Drape's own network, from request to answer.

    Raises:
        ModelError: the backend does not start.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pixels = cv2.imread(str(quiet_ultralytics().utils.ASSETS / PHOTOGRAPH))
        cv2.imwrite(str(folder / PHOTOGRAPH), cv2.resize(pixels, SIZE_WH, interpolation=cv2.INTER_CUBIC))
        # Neither Label Studio nor Redis is there: a click on a local file needs neither.
        settings = Settings(
            data_dir=folder / "data",
            segmenter=BuiltinSegmenter.name,
            local_files_root=folder,
            redis_url="redis://127.0.0.1:1/0",
            label_studio_url="http://127.0.0.1:1",
        )
        with served(settings) as client:
            return timed(lambda number: _ask(client, number), CLICKS)


@contextmanager
def served(settings: Settings) -> Iterator[httpx.Client]:
    """Serves the backend from this process while the block runs, once its segmenter is loaded.

    Raises:
        ModelError: it does not start.
    """
    server = uvicorn.Server(uvicorn.Config(create_app(settings), port=free_port(), log_config=None, access_log=False))
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{server.config.port}", timeout=60) as client:
            deadline = time.monotonic() + START_TIMEOUT_S
            while not server.started or client.get("/health").json()["segmenter"] != settings.segmenter:
                if time.monotonic() > deadline:
                    raise ModelError("The backend of the benchmark does not start.")
                time.sleep(0.05)
            yield client
    finally:
        server.should_exit = True
        thread.join()


def _ask(client: httpx.Client, number: int) -> None:
    # Each time at another place: else the answer would be remembered.
    value = {"x": 15 + number * 0.2, "y": 60, "width": 0.4, "labels": ["saree"]}
    region = {"id": "k", "to_name": "image", "is_positive": True, "value": value}
    regions = [
        {**region, "type": "keypoint", "from_name": "click"},
        {**region, "type": "labels", "from_name": "labels"},
    ]
    answer = client.post(
        "/predict",
        json={
            "tasks": [{"id": 1, "data": {"image": f"/data/local-files/?d={PHOTOGRAPH}"}}],
            "project": "1.1",
            "label_config": palette(GARMENTS),
            "params": {"context": {"result": regions}},
        },
    )
    if answer.status_code != 200 or not any("points" in one["value"] for one in answer.json()["results"][0]["result"]):
        raise ModelError(f"The backend of the benchmark answers {answer.status_code}: {answer.text[:200]}")
