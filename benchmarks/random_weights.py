"""Checkpoints with the real architectures and key names, and weights drawn at random.

They are no use but to prove loading, caching and equality, and to time: none of these depends on what the weights are.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal
from unittest.mock import patch

import torch

from backend.compute.quiet_ultralytics import quiet_ultralytics
from backend.segmenters import sam3_checkpoint
from backend.segmenters.sam3_checkpoint import clip_tokenizer

Layout = Literal["sam3", "sam3.1"]
# With untrained weights all queries of the concept head answer alike: weaker attention and louder queries tell them
# apart, and some then score above a threshold and some below.
QUERY_GAIN, SCORE_GAIN, ATTENTION_GAIN = 50.0, 4.0, 0.3
PRESENCE_LOGIT = -0.4
BOX_SPREAD = 0.6
# A multiple of 14, its patches, and of 16, to which Ultralytics rounds; less than two windows of 24 patches.
SMALL_PX = 448


def random_mobile_sam(folder: Path, *, seed: int = 0) -> Path:
    """Writes `mobile_sam.pt` into the folder; returns its path."""
    quiet_ultralytics()
    from ultralytics.models.sam.build import build_mobile_sam

    torch.manual_seed(seed)
    path = folder / "mobile_sam.pt"
    torch.save(build_mobile_sam().state_dict(), path)
    return path


def random_sam3(folder: Path, *, layout: Layout = "sam3", seed: int = 0) -> Path:
    """Writes `sam3.pt` or `sam3.1.pt` into the folder, 3.4 GB at full size; returns its path."""
    quiet_ultralytics()
    from ultralytics.models.sam.build_sam3 import build_interactive_sam3, build_sam3_image_model

    torch.manual_seed(seed)
    with tempfile.TemporaryDirectory() as scratch, clip_tokenizer():
        empty = Path(scratch) / "empty.pt"
        torch.save({}, empty)
        semantic = build_sam3_image_model(str(empty))
        interactive = build_interactive_sam3(str(empty), with_backbone=False)
    _initialise_concept_head(semantic)
    state = {f"detector.{key}": value for key, value in semantic.state_dict().items()}
    state |= {_tracker_key(key): value for key, value in interactive.state_dict().items()}
    if layout == "sam3.1":
        state = {_sam3_1_key(key): value for key, value in state.items() if not _is_video_weight(key)}
    path = folder / f"{layout}.pt"
    torch.save(state, path)
    return path


@contextmanager
def small_sam3() -> Iterator[None]:
    """Within the block, SAM 3 is built with few and narrow layers, for small images, for tests that need it soon."""
    quiet_ultralytics()
    from ultralytics.models.sam import SAM3Predictor, build_sam3

    vision = {"depth": 2, "embed_dim": 64, "num_heads": 2, "global_att_blocks": (1,)}
    text = {"width": 64, "heads": 2, "layers": 1}
    single_layer = {"num_layers": 1}
    levels = [(int(SMALL_PX / size),) * 2 for size in (14 / 4, 14 / 2, 14)]
    with (
        patch.object(sam3_checkpoint, "INPUT_SIZE_PX", SMALL_PX),
        patch.object(SAM3Predictor, "_bb_feat_sizes", levels),
        patch.object(build_sam3, "SAM3Model", _resized(build_sam3.SAM3Model, {"image_size": SMALL_PX})),
        patch.object(build_sam3, "ViT", _resized(build_sam3.ViT, vision)),
        patch.object(build_sam3, "VETextEncoder", _resized(build_sam3.VETextEncoder, text)),
        patch.object(
            build_sam3, "TransformerEncoderFusion", _resized(build_sam3.TransformerEncoderFusion, single_layer)
        ),
        patch.object(build_sam3, "TransformerDecoder", _resized(build_sam3.TransformerDecoder, single_layer)),
    ):
        yield


def _resized(kind: type[torch.nn.Module], sizes: dict[str, Any]) -> Callable[..., torch.nn.Module]:
    return lambda **given: kind(**{**given, **sizes})


def _initialise_concept_head(semantic: torch.nn.Module) -> None:
    """Sets what Ultralytics allocates without setting, and draws apart what would answer alike."""
    parameters = dict(semantic.named_parameters())
    with torch.no_grad():
        for name, parameter in parameters.items():
            if name.endswith(("encoder.positional_embedding", "encoder.text_projection")):
                parameter.normal_(std=0.02)
            if ".decoder.layers." in name and name.endswith(("ca_text.out_proj.weight", "cross_attn.out_proj.weight")):
                parameter.mul_(ATTENTION_GAIN)
        parameters["transformer.decoder.bbox_embed.layers.2.weight"].normal_(std=BOX_SPREAD)
        parameters["transformer.decoder.presence_token_head.layers.2.bias"].fill_(PRESENCE_LOGIT)
        parameters["transformer.decoder.query_embed.weight"].mul_(QUERY_GAIN)
        parameters["dot_prod_scoring.hs_proj.weight"].mul_(SCORE_GAIN)


def _tracker_key(key: str) -> str:
    key = key.replace("memory_attention.", "transformer.encoder.", 1) if key.startswith("memory_attention.") else key
    key = key.replace("memory_encoder.", "maskmem_backbone.", 1) if key.startswith("memory_encoder.") else key
    return f"tracker.{key}"


def _is_video_weight(key: str) -> bool:
    """SAM 3.1 follows objects by other weights than SAM 3."""
    return key.startswith("tracker.") and not key.startswith(
        ("tracker.sam_prompt_encoder.", "tracker.sam_mask_decoder.", "tracker.no_mem_embed")
    )


def _sam3_1_key(key: str) -> str:
    if key == "tracker.no_mem_embed":
        return "tracker.model.interactivity_no_mem_embed"
    return key.replace("tracker.", "tracker.model.interactive_", 1).replace("sam2_convs", "interactive_convs")
