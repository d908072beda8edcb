"""`make bench-gpu`: prints a table with the card's name, and writes `var/bench-gpu.json`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console

from backend.compute.devices import pick_device
from backend.errors import DrapeError
from benchmarks.gpu.click_models import measure_builtin, measure_sam3
from benchmarks.gpu.detectors import (
    BATCHES,
    SIDE_PX,
    SIZES,
    TRAINED_BATCH,
    measure_networks,
    measure_training,
    measure_whole_path,
)
from benchmarks.gpu.figures import Clock, Figure, device_name, figure_table
from benchmarks.table import write_json

ROUNDS, SHORT_ROUNDS = 20, 1
SHORT_SIDE_PX, SHORT_BATCHES = 128, (1, 2)


def main(
    short: Annotated[
        bool, typer.Option("--short", help="Small models and images: shows on a CPU that it runs.")
    ] = False,
    device: Annotated[str, typer.Option(help="As torch names it.")] = "auto",
    into: Annotated[Path, typer.Option(help="The JSON file that is written.")] = Path("var/bench-gpu.json"),
) -> None:
    """Measures the models on an NVIDIA GPU, in some four minutes. Exits with 1 without one, or if a part failed."""
    console = Console(width=None if sys.stdout.isatty() else 140)
    device = pick_device(device)
    if not torch.cuda.is_available() and (device.startswith("cuda") or not short):
        console.print("There is no NVIDIA GPU that torch can use. --short measures small models on the CPU.")
        raise typer.Exit(1)
    if not device.startswith("cuda") and not short:
        raise typer.BadParameter("Only the short form measures another device.", param_hint="--device")
    clock = Clock(device, SHORT_ROUNDS if short else ROUNDS)
    side_px, batches = (SHORT_SIDE_PX, SHORT_BATCHES) if short else (SIDE_PX, BATCHES)
    parts: dict[str, Callable[[], list[Figure]]] = {
        "YOLO11-seg, network": lambda: measure_networks(
            clock, side_px=side_px, sizes=SIZES[:1] if short else SIZES, batches=batches
        ),
        "YOLO11-seg, whole path": lambda: measure_whole_path(clock, side_px=side_px, batches=batches),
        "YOLO11-seg, training": lambda: measure_training(
            clock, side_px=side_px, batch=SHORT_BATCHES[-1] if short else TRAINED_BATCH
        ),
        "built-in network": lambda: measure_builtin(clock),
        # Last, as it takes longest.
        "SAM 3": lambda: measure_sam3(clock, small=short),
    }
    figures: list[Figure] = []
    failed = []
    for name, measure in parts.items():
        started = time.monotonic()
        try:
            figures += measure()
        # What else there is to measure is measured: the card may be there for minutes only.
        except (DrapeError, RuntimeError) as e:
            console.print(f"{name} failed: {e}", style="red", markup=False)
            failed.append(name)
            continue
        console.print(f"{name}: {time.monotonic() - started:.0f} s", markup=False)
        write_json(figures, into)
    if figures:
        console.print(figure_table(figures, f"{device_name(device)}, torch {torch.__version__}"))
        console.print(f"Written to {into}", markup=False)
    if failed:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
