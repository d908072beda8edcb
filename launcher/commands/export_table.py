"""The output of `drape models export`."""

from __future__ import annotations

from pathlib import Path

from rich.console import Console
from rich.table import Table

from training.model_export.compare import MIN_AGREEMENT
from training.model_export.export import Export


def show_export(folder: Path, export: Export, *, console: Console) -> bool:
    """Prints the export's path and its comparison with PyTorch; returns whether it can replace PyTorch."""
    console.print(f"{folder / export.file}", soft_wrap=True, markup=False, highlight=False)
    check = export.check
    if check is None:
        _warn(console, f"The export could not be compared with PyTorch. {export.problem}")
        return False
    pixels = f"{export.image_size_px} px" if export.any_shape else f"{export.image_size_px} px, square images only"
    precision = ", half precision" if export.half else ""
    table = Table("", "PyTorch", export.format, title=f"{export.version}, {pixels}{precision}, {export.device}")
    table.add_row("relative speed", "1.00", f"{check.torch_ms / check.export_ms:.2f}")
    table.add_row("ms per image", f"{check.torch_ms:.1f}", f"{check.export_ms:.1f}")
    agreement = "" if check.agreement is None else f"{check.agreement:.4f}"
    table.add_row(f"mask mAP, {check.images} images", "1.0000", agreement)
    console.print(table)
    if check.agreement is None:
        _warn(console, "PyTorch found nothing in these images, so the export could not be compared with it.")
    elif not check.agrees:
        _warn(console, f"The export differs from PyTorch: its mask mAP is below {MIN_AGREEMENT}. Do not use it.")
    return check.agrees


def _warn(console: Console, sentence: str) -> None:
    console.print(sentence, style="bold red", markup=False, highlight=False)
