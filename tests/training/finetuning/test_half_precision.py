from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from backend.compute.quiet_ultralytics import quiet_ultralytics
from training.finetuning.half_precision import use_bfloat16


@pytest.mark.slow
def test_the_network_computes_in_bfloat16_and_all_else_stays_in_float32() -> None:
    quiet_ultralytics()
    from ultralytics.nn.tasks import SegmentationModel

    torch.manual_seed(0)
    model = SegmentationModel("yolo11n-seg.yaml", nc=3, verbose=False).train()
    images = torch.rand(2, 3, 64, 64)
    before = model(images)
    seen: list[torch.dtype] = []
    model.model[0].conv.register_forward_hook(lambda _, __, output: seen.append(output.dtype))
    use_bfloat16(SimpleNamespace(model=model))
    after = model(images)
    assert seen == [torch.bfloat16]
    assert before.keys() == after.keys()
    for name in ("boxes", "scores", "mask_coefficient", "proto"):
        assert after[name].dtype == torch.float32, name
        # Random weights, and normalised over two pictures: each value is a little off.
        assert (before[name] - after[name]).abs().mean() < 0.5 * before[name].std(), name
    sum(value.mean() for value in (after["boxes"], after["scores"])).backward()
    assert all(weights.dtype == torch.float32 for weights in model.parameters())
    assert model.model[0].conv.weight.grad is not None
