"""Which SAM 3 checkpoints load, in which precision, and what is said of the others."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from backend.domain import Prompt
from backend.errors import ModelError
from backend.segmenters.base import ImageEncoder, WordReader
from backend.segmenters.loader import choose
from backend.segmenters.sam3 import Sam3Segmenter
from backend.segmenters.sam3_checkpoint import load_sam3
from backend.settings import Settings
from backend.telemetry.metrics import Metrics
from benchmarks.random_weights import Layout, random_sam3
from tests.backend.segmenters.conftest import CLICK, upright

pytestmark = pytest.mark.slow


# SAM_HALF, what the CPU says, what embeddings are in
IN_BFLOAT16 = [(True, True, torch.bfloat16), (True, False, torch.float32), (False, True, torch.float32)]


@pytest.mark.parametrize(("half", "made_for_it", "precision"), IN_BFLOAT16)
def test_a_cpu_encodes_in_bfloat16_if_it_is_made_for_that(
    small_weights: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    half: bool,
    made_for_it: bool,
    precision: torch.dtype,
) -> None:
    monkeypatch.setattr(torch.cpu, "_is_amx_tile_supported", lambda: made_for_it)
    given = Settings(sam3_weights=str(small_weights), device="cpu", data_dir=tmp_path, sam_half=half)
    segmenter = choose(given, Metrics())
    assert isinstance(segmenter, Sam3Segmenter) and segmenter._sam3.precision == precision


@pytest.mark.parametrize("layout", ["sam3", "sam3.1"])
def test_both_layouts_load(small_weights: Path, tmp_path: Path, layout: Layout) -> None:
    weights = random_sam3(tmp_path, layout=layout, seed=2)
    keys = torch.load(weights, weights_only=True).keys()
    assert any("interactive_convs" in key for key in keys) == (layout == "sam3.1")
    segmenter = choose(Settings(sam3_weights=str(weights), device="cpu", data_dir=tmp_path), Metrics())
    assert segmenter.name == layout
    assert isinstance(segmenter, WordReader) and isinstance(segmenter, ImageEncoder)
    (segment,) = segmenter.segment(upright(1), Prompt(points=(CLICK,)))
    assert segment.mask.any()


def test_a_checkpoint_that_lacks_weights_is_refused_with_their_names(small_weights: Path, tmp_path: Path) -> None:
    state = torch.load(small_weights, weights_only=True)
    lacking = {key: value for key, value in state.items() if not key.startswith("tracker.sam_mask_decoder.iou_token")}
    path = tmp_path / "half.pt"
    torch.save(lacking, path)
    with pytest.raises(
        ModelError,
        match=r"half\.pt' is an incomplete SAM 3 checkpoint: 1 weights are missing \(sam_mask_decoder\.iou_token",
    ):
        load_sam3(path, device="cpu", precision=torch.float32, compiled=False)


def test_another_models_checkpoint_is_refused_by_name(small_weights: Path, tmp_path: Path) -> None:
    other = tmp_path / "yolo.pt"
    torch.save({"model": {"0.conv.weight": torch.zeros(3)}}, other)
    with pytest.raises(ModelError, match=r"yolo\.pt' is not a SAM 3 checkpoint: it has no weight 'detector"):
        load_sam3(other, device="cpu", precision=torch.float32, compiled=False)
    other.write_bytes(b"no checkpoint at all")
    with pytest.raises(ModelError, match=r"yolo\.pt' is not a SAM 3 checkpoint: it cannot be read"):
        load_sam3(other, device="cpu", precision=torch.float32, compiled=False)
    state = torch.load(small_weights, weights_only=True)
    state["detector.dot_prod_scoring.hs_proj.weight"] = torch.zeros(3, 3)
    torch.save(state, other)
    with pytest.raises(ModelError, match=r"yolo\.pt' is not a SAM 3 checkpoint: size mismatch"):
        load_sam3(other, device="cpu", precision=torch.float32, compiled=False)


def test_a_missing_file_says_where_to_ask_for_it(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"huggingface\.co/facebook/sam3.*SAM3_WEIGHTS"):
        load_sam3(tmp_path / "sam3.pt", device="cpu", precision=torch.float32, compiled=False)
    settings = Settings(sam3_weights=str(tmp_path / "sam3.pt"), data_dir=tmp_path)
    assert choose(settings, Metrics()).name == "builtin"
    with pytest.raises(ModelError, match="no SAM 3 weights at"):
        choose(settings.model_copy(update={"segmenter": "sam3"}), Metrics())


def test_a_device_that_is_not_there_is_said(small_weights: Path) -> None:
    with pytest.raises(ModelError, match=r"device 'cuda:9'"):
        load_sam3(small_weights, device="cuda:9", precision=torch.float16, compiled=False)
