"""Loads SAM 3's checkpoint as a concept head and an interactive head, on one vision backbone.

This module reads both of Meta's layouts, SAM 3 and SAM 3.1, through Ultralytics' own mapping of names. Ultralytics does
not report missing weights; this module refuses a file that lacks any, because the masks would be noise.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from backend.compute.malloc import trim_heap
from backend.compute.quiet_ultralytics import LOAD_ERRORS, quiet_ultralytics
from backend.errors import ModelError, first_line
from backend.segmenters.embedding_files import fingerprint

INPUT_SIZE_PX = 1008
# The parts of the interactive model that an image needs; its other parts follow objects through videos.
IMAGE_PARTS = ("sam_prompt_encoder.", "sam_mask_decoder.", "no_mem_embed")
VIDEO_PARTS = ("memory_attention", "memory_encoder", "obj_ptr_proj", "obj_ptr_tpos_proj", "mask_downsample")
DOWNLOAD_HINT = (
    "Request them from Meta at https://huggingface.co/facebook/sam3, download sam3.pt, and set SAM3_WEIGHTS "
    "to its path."
)
MAX_NAMED_KEYS = 5


@dataclass(frozen=True)
class Sam3:
    """Both heads as Ultralytics' predictors, set up on one device. `concept` encodes images for both heads.

    Attributes:
        precision: the data type in which images are encoded.
        fingerprint: 16 hex digits that change with the weights.
        input_size_px: side of the square to which images are stretched.
    """

    concept: Any
    clicks: Any
    precision: torch.dtype
    fingerprint: str
    input_size_px: int


def load_sam3(weights: Path, *, device: str, precision: torch.dtype, compiled: bool) -> Sam3:
    """Loads SAM 3 or SAM 3.1.

    Args:
        device: as Ultralytics names it: `cpu`, `cuda:0`, `mps`.
        precision: float16 or float32; or, on a CPU, bfloat16, in which case the heads compute in float32.
        compiled: compile the backbone with `torch.compile`.

    Raises:
        ModelError: the file is missing, not SAM 3, or lacks weights (the message names them); or the device fails.
    """
    if not weights.is_file():
        raise ModelError(f"There are no SAM 3 weights at '{weights}'. {DOWNLOAD_HINT}")
    _check_is_checkpoint(weights)
    quiet_ultralytics()
    from ultralytics.models.sam import SAM3Predictor, SAM3SemanticPredictor

    semantic, interactive = _build(weights, compiled=compiled)
    overrides = {
        "model": str(weights),
        "imgsz": INPUT_SIZE_PX,
        "device": device,
        "task": "segment",
        "mode": "predict",
        "save": False,
        "verbose": False,
        "quantize": 16 if precision is torch.float16 else None,
    }
    concept, clicks = SAM3SemanticPredictor(overrides=dict(overrides)), SAM3Predictor(overrides=dict(overrides))
    try:
        concept.setup_model(model=semantic, verbose=False)
        clicks.setup_model(model=interactive, verbose=False)
    except (RuntimeError, ValueError) as e:
        # The device does not exist, or has too little memory.
        raise ModelError(f"SAM 3 does not load on the device '{device}' (DEVICE): {first_line(e)}") from e
    trim_heap()
    return Sam3(concept, clicks, precision, fingerprint(weights), INPUT_SIZE_PX)


class EncodedBackbone(torch.nn.Module):
    """Replaces the interactive model's own vision backbone, and takes the features that the concept head's computed."""

    def forward_image_sam2(self, encoded: dict[str, Any]) -> dict[str, Any]:
        """Returns the features as Ultralytics expects them from a backbone; copied, because it writes into the list."""
        return {**encoded, "backbone_fpn": list(encoded["backbone_fpn"])}


def _check_is_checkpoint(weights: Path) -> None:
    try:
        content = _load_mapped(weights)
    except LOAD_ERRORS as e:
        raise ModelError(f"'{weights}' is not a SAM 3 checkpoint: it cannot be read. {DOWNLOAD_HINT}") from e
    nested = content.get("model") if isinstance(content, dict) else None
    keys = nested if isinstance(nested, dict) else content
    if not isinstance(keys, dict) or not any(str(key).startswith("detector.") for key in keys):
        raise ModelError(f"'{weights}' is not a SAM 3 checkpoint: it has no weight 'detector.*'. {DOWNLOAD_HINT}")


def _load_mapped(weights: Path) -> Any:
    """Returns the file's content, mapped, not loaded; it reads tensors only, so that a crafted file cannot run code."""
    return torch.load(weights, map_location="cpu", weights_only=True, mmap=True)


def _build(weights: Path, *, compiled: bool) -> tuple[torch.nn.Module, torch.nn.Module]:
    from ultralytics.models.sam.build_sam3 import build_interactive_sam3, build_sam3_image_model

    with tempfile.TemporaryDirectory() as folder, clip_tokenizer():
        # The models are built without weights and filled afterwards, to see which weights the file lacks.
        empty = Path(folder) / "empty.pt"
        torch.save({}, empty)
        semantic = build_sam3_image_model(str(empty), compile=compiled)
        interactive = build_interactive_sam3(str(empty), with_backbone=False)
    missing = _load_weights(semantic, weights, interactive=False)
    missing += [key for key in _load_weights(interactive, weights, interactive=True) if key.startswith(IMAGE_PARTS)]
    if missing:
        named = ", ".join(missing[:MAX_NAMED_KEYS]) + (", …" if len(missing) > MAX_NAMED_KEYS else "")
        raise ModelError(
            f"'{weights}' is an incomplete SAM 3 checkpoint: {len(missing)} weights are missing ({named})."
        )
    for part in VIDEO_PARTS:
        delattr(interactive, part)
    interactive.image_encoder = EncodedBackbone()
    fuse_attention(semantic)
    return semantic, interactive


def fuse_attention(model: torch.nn.Module) -> None:
    """Stops attention from returning its attention weights: nobody reads them, and they bar torch's fused kernels.

    For a phrase at full size this saves half the time and 1.1 GB.
    """

    def drop_attention_weights(_: torch.nn.Module, args: Any, kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, {**kwargs, "need_weights": False}

    for module in model.modules():
        if isinstance(module, torch.nn.MultiheadAttention):
            module.register_forward_pre_hook(drop_attention_weights, with_kwargs=True)


def _load_weights(model: torch.nn.Module, weights: Path, *, interactive: bool) -> list[str]:
    """Loads the weights that the file has; returns the names of those that it lacks."""
    from ultralytics.models.sam.build_sam3 import _load_checkpoint

    missing: list[str] = []

    def record_missing(_: torch.nn.Module, keys: Any) -> None:
        missing.extend(keys.missing_keys)

    handle = model.register_load_state_dict_post_hook(record_missing)
    try:
        with _mapped_loading():
            _load_checkpoint(model, str(weights), interactive=interactive)
    except RuntimeError as e:
        # A weight has another shape.
        raise ModelError(f"'{weights}' is not a SAM 3 checkpoint: {str(e).splitlines()[-1].strip()}") from e
    finally:
        handle.remove()
    return missing


@contextmanager
def _mapped_loading() -> Iterator[None]:
    """Makes Ultralytics map the file: read into memory beside the model, it would need as much memory again."""
    from ultralytics.models.sam import build_sam3

    original = build_sam3.torch_load
    build_sam3.torch_load = lambda file: _load_mapped(Path(file.name))
    try:
        yield
    finally:
        build_sam3.torch_load = original


@contextmanager
def clip_tokenizer() -> Iterator[None]:
    """Provides CLIP's tokenizer from open_clip as the module `clip`, which Ultralytics imports and no registry has."""
    from open_clip.tokenizer import SimpleTokenizer

    original = sys.modules.get("clip")
    sys.modules["clip"] = SimpleNamespace(simple_tokenizer=SimpleNamespace(SimpleTokenizer=SimpleTokenizer))  # type: ignore[assignment]
    try:
        yield
    finally:
        if original is None:
            del sys.modules["clip"]
        else:
            sys.modules["clip"] = original
