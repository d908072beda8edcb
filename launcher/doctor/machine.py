"""`drape doctor` checks this machine: its devices, their memory, and its disk."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil

from backend.compute.devices import devices_of, pick_device
from backend.errors import first_line
from backend.settings import Settings
from launcher.doctor.findings import Finding, looked

# Memory that SAM 3 needs: docs/explanation/figures.md.
SAM3_BYTES = 4_000_000_000
# A training stores a data set, checkpoints and two versions' weights. Below the second limit nothing can be stored.
DISK_SHORT_BYTES, DISK_FULL_BYTES = 5_000_000_000, 500_000_000
NVIDIA = Path("/dev/nvidia0")
# Where a container sees its own limits (cgroups).
CGROUP = Path("/sys/fs/cgroup")


def look_at_machine(settings: Settings) -> list[Finding]:
    """Checks the devices that models run on, and the data directory."""
    return [
        *_devices(settings),
        *looked("disk", lambda: _disk(settings), remedy="Set DATA_DIR to a folder that this account may write to."),
    ]


def _devices(settings: Settings) -> list[Finding]:
    """Checks the device of each kind of work that has its own, and whether the kinds that share a GPU fit on it."""
    kinds = {"device": ("DEVICE", settings)}
    if settings.device_batch:
        kinds["device of batches"] = ("DEVICE_BATCH", settings.for_work("batch"))
    several = devices_of(settings.device_train) if settings.device_train else ()
    for number, device in enumerate(several, start=1):
        name = "device of trainings" if number == 1 else f"device {number} of trainings"
        kinds[name] = ("DEVICE_TRAIN", settings.for_work("train").model_copy(update={"device": device}))
    found = [
        one
        for name, (setting, placed) in kinds.items()
        for one in looked(
            name,
            partial(_device, name, setting, placed),
            remedy=f"Set {setting} to `auto` or to a device of this machine.",
        )
    ]
    return found + looked("GPU memory", lambda: _shares(settings), remedy="Look at DEVICE and GPU_MEMORY_SHARE.")


def _shares(settings: Settings) -> Iterator[Finding]:
    """Checks whether the shares of a GPU's memory that are set fit together; yields nothing if none is set."""
    taken: dict[str, float] = {}
    for placed in (settings, settings.for_work("batch"), settings.for_work("train")):
        if (device := pick_device(placed.device)).startswith("cuda"):
            taken[device] = taken.get(device, 0.0) + placed.gpu_memory_share
    shares = settings.gpu_memory_share, settings.gpu_memory_share_batch, settings.gpu_memory_share_train
    for device, share in taken.items() if min(shares) < 1 else ():
        said = f"The backend, one worker for batches and one training take {100 * share:.0f} % of {device} at most."
        remedy = "Set GPU_MEMORY_SHARE, GPU_MEMORY_SHARE_BATCH and GPU_MEMORY_SHARE_TRAIN so that they fit."
        yield Finding(f"GPU memory: {device}", "warning" if share > 1 else "ok", said, remedy)


def _device(check: str, setting: str, settings: Settings) -> Iterator[Finding]:
    import torch

    name = pick_device(settings.device)
    try:
        torch.zeros(1, device=name)
    except (RuntimeError, AssertionError) as e:
        # torch builds without CUDA raise AssertionError.
        yield Finding(
            check,
            "failed",
            f"torch cannot compute on '{name}' ({setting}): {first_line(e)}",
            f"Set {setting} to `auto`, `cpu` or a device that is there.",
        )
        return
    if name.startswith("cuda"):
        free, total = torch.cuda.mem_get_info(name)
        said = f"{torch.cuda.get_device_name(name)} ({name}), {_gb(free)} of {_gb(total)} memory free."
    else:
        free = free_memory()
        said = f"{name}, {os.cpu_count()} cores, {_gb(free)} memory free."
    if name == "cpu" and settings.device == "auto" and NVIDIA.exists():
        yield Finding(
            check,
            "warning",
            f"There is an NVIDIA GPU that torch does not see; models run on {said}",
            "Install a driver that is as new as torch's CUDA, or give the container its GPU.",
        )
    elif settings.sam3_weights and free < SAM3_BYTES:
        yield Finding(check, "warning", f"{said} SAM 3 needs {_gb(SAM3_BYTES)}.", "Free memory, or use SAM_WEIGHTS.")
    else:
        yield Finding(check, "ok", said)


def free_memory(cgroup: Path = CGROUP) -> int:
    """Bytes of memory that processes can still take: what is free on the machine, and allowed to its container."""
    free = psutil.virtual_memory().available
    for limit, used, folder in (
        ("memory.max", "memory.current", cgroup),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", cgroup / "memory"),
    ):
        # The files are missing outside Linux and in the other version of cgroups; without a limit they say `max`.
        with suppress(OSError, ValueError, KeyError):
            most, taken = int((folder / limit).read_text()), int((folder / used).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            # Cached files count as used memory, but Linux drops them as soon as a process needs it.
            free = min(free, most - taken + int(stat["inactive_file"]))
    return free


def _disk(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir.resolve()
    there = next(one for one in (folder, *folder.parents) if one.is_dir())
    try:
        with tempfile.TemporaryFile(dir=there) as file:
            file.write(b"drape")
    except OSError as e:
        yield Finding(
            "disk",
            "failed",
            f"Nothing can be written in {there} (DATA_DIR): {e.strerror or e}.",
            "Give this account the right to write there, free some space, or set DATA_DIR to another folder.",
        )
        return
    free = shutil.disk_usage(there).free
    said = f"{_gb(free)} free in {folder} (DATA_DIR)."
    if free >= DISK_SHORT_BYTES:
        yield Finding("disk", "ok", said)
        return
    yield Finding(
        "disk",
        "failed" if free < DISK_FULL_BYTES else "warning",
        said,
        "Free some space: `drape models prune` deletes old versions, EMBEDDING_DISK_BYTES limits kept embeddings.",
    )


def _gb(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:.1f} GB"
