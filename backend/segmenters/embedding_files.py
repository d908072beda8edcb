"""Writes and reads an embedding as a safetensors file, including its memory layout."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open
from safetensors.torch import save_file

Tensors = Mapping[str, torch.Tensor]
SUFFIX = ".safetensors"
CHANNELS_LAST = "channels_last"
FINGERPRINT_BYTES = 1_000_000


def write_tensors(tensors: Tensors, path: Path) -> None:
    """Writes safetensors, a format with one memory layout, and notes in it which tensors have their channels last.

    The layout is stored because it decides the order of sums in a head, and so the last bits of the head's results.
    """
    last = [name for name, tensor in tensors.items() if _has_channels_last(tensor)]
    rows = {name: tensor.permute(0, 2, 3, 1) if name in last else tensor for name, tensor in tensors.items()}
    plain = {name: tensor.cpu().contiguous() for name, tensor in rows.items()}
    save_file(plain, path, metadata={CHANNELS_LAST: ",".join(last)})


def read_tensors(path: Path) -> dict[str, torch.Tensor]:
    with safe_open(path, framework="pt") as file:
        last = (file.metadata() or {}).get(CHANNELS_LAST, "").split(",")
        tensors = {name: file.get_tensor(name) for name in file.keys()}
    # The tensors are copied from the mapped file, which may be removed, to memory that is aligned as torch's own.
    return {name: (tensor.permute(0, 3, 1, 2) if name in last else tensor).clone() for name, tensor in tensors.items()}


def _has_channels_last(tensor: torch.Tensor) -> bool:
    return tensor.ndim == 4 and not tensor.is_contiguous() and tensor.is_contiguous(memory_format=torch.channels_last)


def size_of(tensors: Tensors) -> int:
    """Returns how many bytes the tensors take."""
    return sum(tensor.nbytes for tensor in tensors.values())


def fingerprint(weights: Path) -> str:
    """Returns 16 hex digits that change with the weights: a hash of the file's size and end (torch's checksums)."""
    size = weights.stat().st_size
    with weights.open("rb") as file:
        file.seek(max(0, size - FINGERPRINT_BYTES))
        return hashlib.sha256(str(size).encode() + file.read()).hexdigest()[:16]
