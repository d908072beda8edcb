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

from backend.compute.devices import NVIDIA_FILES, parse_devices, pick_device
from backend.errors import first_line
from backend.settings import Settings
from launcher.doctor.findings import Finding, State, run_check

# Memory that SAM 3 needs: docs/explanation/figures.md.
SAM3_BYTES = 4_000_000_000
# A training stores a data set, checkpoints and two versions' weights. Below the second limit nothing can be stored.
LOW_DISK_BYTES, FULL_DISK_BYTES = 5_000_000_000, 500_000_000
# Where a container sees its own limits (cgroups).
CGROUP = Path("/sys/fs/cgroup")


def check_machine(settings: Settings) -> list[Finding]:
    """Checks the devices that models run on, and the data directory."""
    return [
        *_check_devices(settings),
        *run_check(
            "disk", lambda: _check_disk(settings), remedy="Set DATA_DIR to a folder that this account may write to."
        ),
    ]


def _check_devices(settings: Settings) -> list[Finding]:
    """Checks the device of each kind of work that has its own, and whether the kinds that share a GPU fit on it."""
    kinds = {"device": ("DEVICE", settings)}
    if settings.device_batch:
        kinds["device of batches"] = ("DEVICE_BATCH", settings.for_work("batch"))
    training_devices = parse_devices(settings.device_train) if settings.device_train else ()
    for number, device in enumerate(training_devices, start=1):
        name = "device of trainings" if number == 1 else f"device {number} of trainings"
        kinds[name] = ("DEVICE_TRAIN", settings.for_work("train").model_copy(update={"device": device}))
    findings = []
    for name, (setting, work_settings) in kinds.items():
        check = partial(_check_device, name, setting, work_settings)
        findings += run_check(name, check, remedy=f"Set {setting} to `auto` or to a device of this machine.")
    return findings + run_check(
        "GPU memory", lambda: _check_shares(settings), remedy="Check DEVICE and GPU_MEMORY_SHARE."
    )


def _check_shares(settings: Settings) -> Iterator[Finding]:
    """Checks whether the shares of a GPU's memory that are set fit together; yields nothing if none is set."""
    totals: dict[str, float] = {}
    for work_settings in (settings, settings.for_work("batch"), settings.for_work("train")):
        if (device := pick_device(work_settings.device)).startswith("cuda"):
            totals[device] = totals.get(device, 0.0) + work_settings.gpu_memory_share
    shares = settings.gpu_memory_share, settings.gpu_memory_share_batch, settings.gpu_memory_share_train
    if min(shares) >= 1:
        return
    for device, share in totals.items():
        message = f"The backend, one worker for batches and one training use at most {100 * share:.0f} % of {device}."
        remedy = "Lower GPU_MEMORY_SHARE, GPU_MEMORY_SHARE_BATCH or GPU_MEMORY_SHARE_TRAIN until they add up to 1."
        yield Finding(f"GPU memory: {device}", "warning" if share > 1 else "ok", message, remedy)


def _check_device(check: str, setting: str, settings: Settings) -> Iterator[Finding]:
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
            f"Set {setting} to `auto`, `cpu` or a device that exists.",
        )
        return
    if name.startswith("cuda"):
        free, total = torch.cuda.mem_get_info(name)
        message = f"{torch.cuda.get_device_name(name)} ({name}), {_gb(free)} of {_gb(total)} memory free."
    else:
        free = free_memory()
        message = f"{name}, {os.cpu_count()} cores, {_gb(free)} memory free."
    if name == "cpu" and settings.device == "auto" and any(Path(path).exists() for path in NVIDIA_FILES):
        yield Finding(
            check,
            "warning",
            f"There is an NVIDIA GPU that torch cannot use. Models run on {message}",
            "Install a driver that supports torch's CUDA version, or give the container access to the GPU."
            if torch.version.cuda
            else "torch was installed without CUDA. Run `make up` again, which installs the build for the GPU.",
        )
    elif settings.sam3_weights and free < SAM3_BYTES:
        yield Finding(check, "warning", f"{message} SAM 3 needs {_gb(SAM3_BYTES)}.", "Free memory, or use SAM_WEIGHTS.")
    else:
        yield Finding(check, "ok", message)


def free_memory(cgroup: Path = CGROUP) -> int:
    """Bytes of memory that processes can still take: what is free on the machine, and allowed to its container."""
    free = psutil.virtual_memory().available
    for limit_file, usage_file, folder in (
        ("memory.max", "memory.current", cgroup),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", cgroup / "memory"),
    ):
        # The files are missing outside Linux and in the other version of cgroups; without a limit they say `max`.
        with suppress(OSError, ValueError, KeyError):
            limit, usage = int((folder / limit_file).read_text()), int((folder / usage_file).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            # Cached files count as used memory, but Linux drops them as soon as a process needs it.
            free = min(free, limit - usage + int(stat["inactive_file"]))
    return free


def _check_disk(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir.resolve()
    existing = next(path for path in (folder, *folder.parents) if path.is_dir())
    try:
        with tempfile.TemporaryFile(dir=existing) as file:
            file.write(b"drape")
    except OSError as e:
        message = f"{existing} (DATA_DIR) cannot be written to: {e.strerror or e}."
        remedy = "Give this account write permission there, free some space, or set DATA_DIR to another folder."
        yield Finding("disk", "failed", message, remedy)
        return
    free = shutil.disk_usage(existing).free
    state: State = "failed" if free < FULL_DISK_BYTES else "warning" if free < LOW_DISK_BYTES else "ok"
    remedy = (
        "Free some space: `drape models prune` deletes old versions, EMBEDDING_DISK_BYTES limits stored embeddings."
    )
    yield Finding("disk", state, f"{_gb(free)} free in {folder} (DATA_DIR).", remedy)


def _gb(size_bytes: float) -> str:
    return f"{size_bytes / 1e9:.1f} GB"
