"""Our SAM against Ultralytics' own predictor, on weights that are initialised at random: equality needs no training."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from backend.domain import Box, Image, Point, Prompt
from backend.errors import ModelError, PromptError
from backend.segmenters.builtin.segmenter import BuiltinSegmenter
from backend.segmenters.embedding_cache import EmbeddingCache
from backend.segmenters.embedding_tiers import MemoryTier
from backend.segmenters.loader import choose
from backend.segmenters.sam import SamSegmenter, load_sam
from backend.settings import Settings
from backend.telemetry.metrics import Metrics
from label_studio_config.demo.figures import draw_figure

pytestmark = pytest.mark.slow


def in_memory() -> EmbeddingCache:
    return EmbeddingCache([MemoryTier("host", device="cpu", max_bytes=10**9)], disk=None, metrics=Metrics())


@pytest.fixture(scope="module")
def sam(weights: Path) -> SamSegmenter:
    return load_sam(str(weights), device="cpu", embeddings=in_memory(), metrics=Metrics())


def picture(seed: int) -> Image:
    return Image(draw_figure(seed).pixels, f"key-{seed}", "s")


def theirs(weights: Path, image: Image, **prompt: Any) -> np.ndarray[Any, Any]:
    from ultralytics.models.sam import Predictor

    predictor = Predictor(
        overrides={"model": str(weights), "imgsz": 1024, "conf": 0.0, "save": False, "verbose": False}
    )
    result = predictor(source=np.ascontiguousarray(image.pixels[..., ::-1]), **prompt)[0]
    return np.asarray(result.masks.data.cpu().numpy(), bool)


# our prompt, Ultralytics' form of it
BOX = Box(100, 80, 300, 500)
XYXY = [[100, 80, 300, 500]]
PROMPTS = [
    (
        Prompt(points=(Point(200, 300), Point(250, 400, positive=False))),
        {"points": [[[200, 300], [250, 400]]], "labels": [[1, 0]]},
    ),
    (Prompt(boxes=(BOX,)), {"bboxes": XYXY}),
    (Prompt(points=(Point(200, 300),), boxes=(BOX,)), {"points": [[[200, 300]]], "labels": [[1]], "bboxes": XYXY}),
]


@pytest.mark.parametrize(("prompt", "same"), PROMPTS)
def test_the_masks_are_those_of_ultralytics(
    sam: SamSegmenter, weights: Path, prompt: Prompt, same: dict[str, Any]
) -> None:
    image = picture(1)
    (segment,) = sam.segment(image, prompt)
    (expected,) = theirs(weights, image, **same)
    assert expected.any() and not expected.all()
    assert np.array_equal(segment.mask, expected)


def test_one_click_chooses_among_readings_and_encodes_once(sam: SamSegmenter, monkeypatch: pytest.MonkeyPatch) -> None:
    encoded = []
    encode = sam._predictor.set_image

    def counted(pixels: Any) -> None:
        encoded.append(1)
        encode(pixels)

    monkeypatch.setattr(sam._predictor, "set_image", counted)
    image = picture(2)
    segments = sam.segment(image, Prompt(points=(Point(200, 300),)))
    assert [segment.score for segment in segments] == sorted((segment.score for segment in segments), reverse=True)
    sam.segment(image, Prompt(points=(Point(210, 300),)))
    assert len(encoded) == 1
    # A reduced copy of the same file is another picture.
    sam.segment(replace(image, pixels=np.ascontiguousarray(image.pixels[::2, ::2])), Prompt(points=(Point(100, 150),)))
    assert len(encoded) == 2


def test_threads_never_get_another_images_mask(sam: SamSegmenter) -> None:
    images, prompt = [picture(1), picture(3)], Prompt(boxes=(Box(100, 80, 300, 400),))
    alone = [sam.segment(image, prompt)[0].mask for image in images]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda number: sam.segment(images[number % 2], prompt)[0].mask, range(12)))
    for number, mask in enumerate(together):
        assert np.array_equal(mask, alone[number % 2])


def test_what_sam_cannot_answer_is_said(sam: SamSegmenter) -> None:
    boxes = (Box(0, 0, 9, 9), Box(20, 20, 40, 40))
    with pytest.raises(PromptError, match="one box at a time"):
        sam.segment(picture(1), Prompt(boxes=boxes))


def test_without_its_weights_the_builtin_one_answers_unless_sam_alone_is_asked_for(tmp_path: Path) -> None:
    missing = str(tmp_path / "sam2.1_b.pt")
    assert isinstance(choose(Settings(sam_weights=missing), Metrics()), BuiltinSegmenter)
    with pytest.raises(ModelError, match="SAM_WEIGHTS"):
        choose(Settings(sam_weights=missing, segmenter="sam"), Metrics())


def test_a_file_that_is_no_model_is_said(tmp_path: Path) -> None:
    path = tmp_path / "mobile_sam.pt"
    path.write_bytes(b"not weights")
    with pytest.raises(ModelError, match="does not load"):
        load_sam(str(path), device="cpu", embeddings=in_memory(), metrics=Metrics())


def test_models_compute_on_all_of_torchs_cores_in_every_thread(weights: Path) -> None:
    before = torch.get_num_threads()
    load_sam(str(weights), device="cpu", embeddings=in_memory(), metrics=Metrics())
    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(torch.get_num_threads).result() == before == torch.get_num_threads()
