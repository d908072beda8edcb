"""Where models run."""

from __future__ import annotations


def pick_device(device: str) -> str:
    """`auto` becomes the best device present, as Ultralytics names it; anything else stays."""
    if device != "auto":
        return device
    import torch

    if torch.cuda.is_available():
        return "cuda:0"
    return "mps" if torch.backends.mps.is_available() else "cpu"
