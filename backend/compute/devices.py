"""Where models run, and how much of a GPU's memory they may take."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from backend.settings import Settings

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

# On Linux, one of them is there where NVIDIA's driver is: also before the GPU is used for the first time, on Jetson
# boards, and in Linux inside Windows. `launcher/bootstrap.py` has the same list, as it can import nothing.
NVIDIA_FILES = ("/dev/nvidiactl", "/proc/driver/nvidia/version", "/dev/nvmap", "/dev/dxg")
# AMD's, which torch calls CUDA, too.
GPU_FILES = (*NVIDIA_FILES, "/dev/kfd")


def pick_device(device: str) -> str:
    """The device as torch names it: `auto` is the best device present, `0` is `cuda:0`; of several it is the first."""
    if device != "auto":
        return parse_devices(device)[0]
    if sys.platform == "linux" and not any(Path(path).exists() for path in GPU_FILES):
        return "cpu"
    # Only now: torch takes a second and 300 MB, and a worker that computes with OpenVINO does not need it.
    import torch

    if torch.cuda.is_available():
        return "cuda:0"
    return "mps" if torch.backends.mps.is_available() else "cpu"


def parse_devices(device: str) -> tuple[str, ...]:
    """Each device in a setting such as `0,1`, as torch names it."""
    names = [name.strip() for name in device.split(",") if name.strip()]
    return tuple(f"cuda:{name}" if name.isdigit() else name for name in names) or ("cpu",)


def encoding_precision(device: str, *, half: bool) -> torch.dtype:
    """The dtype for encoding images: with `half`, float16 on a GPU and bfloat16 on a CPU with AMX; else float32.

    CPUs without AMX are slower in bfloat16 than in float32.
    """
    import torch

    if not half:
        return torch.float32
    if device != "cpu":
        return torch.float16
    return torch.bfloat16 if torch.cpu._is_amx_tile_supported() else torch.float32


def prepare_device(settings: Settings) -> str:
    """The device that this process computes on; limits its memory on a GPU to `GPU_MEMORY_SHARE`.

    Call it before anything is loaded. Beyond the limit torch raises its own `out of memory`.
    """
    device = pick_device(settings.device)
    if device.startswith("cuda") and settings.gpu_memory_share < 1:
        import torch

        torch.cuda.set_per_process_memory_fraction(settings.gpu_memory_share, device)
        logger.info("This process uses at most %.0f %% of the memory of %s", 100 * settings.gpu_memory_share, device)
    return device
