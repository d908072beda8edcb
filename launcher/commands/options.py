"""Options that several commands share, and the label config that a command's options select."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from label_studio_config.palette_xml import Style
from label_studio_config.palette_xml import palette as palette_of
from label_studio_config.palettes import PALETTES
from launcher.errors import LauncherError
from training.data_in.text_files import read_text

Project = Annotated[int, typer.Option(help="Project id in Label Studio.")]
DataDir = Annotated[Path | None, typer.Option(help="Data directory. Default: var.")]
StudioVenv = Annotated[Path, typer.Option(help="Virtual environment that Label Studio is installed in.")]
Mapping = Annotated[
    Path | None, typer.Option(help="YAML or JSON file, `their class: our label`; an empty label leaves the class out.")
]
By = Annotated[
    Literal["person", "model", "both"],
    typer.Option(help="Annotations that a person approved, that a model accepted without a person, or both."),
]
Labels = Annotated[str, typer.Option(help="Labels, separated by commas. Default: all.")]
MinScore = Annotated[float, typer.Option(min=0, max=1, help="Minimum score of a model's garments.")]
SoftEdges = Annotated[bool, typer.Option("--soft/--no-soft", help="Fade cut-outs at the edge.")]
Wait = Annotated[bool, typer.Option(help="Show the progress until it is done; Ctrl-C leaves the jobs running.")]
STUDIO_VENV = Path(".venv-label-studio")


def split_list(text: str) -> tuple[str, ...]:
    """Splits an option's comma-separated values; each value is returned once, in order."""
    return tuple(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def label_config_for(*, palette: str, labels: str, config: Path | None, style: Style | None = None) -> str | None:
    """Returns the XML for a shipped palette, for comma-separated labels or from a file; None if no option is given.

    Raises:
        LauncherError: more than one option is given, a style without labels, or the palette does not exist.
        DatasetError: the file cannot be read, or is not UTF-8 text.
    """
    if sum(map(bool, (palette, labels, config))) > 1:
        raise LauncherError("Give only one of --palette, --labels and --config.")
    values = split_list(labels)
    if style and not (palette or values):
        raise LauncherError("--style needs the labels: give --palette or --labels too.")
    if config is not None:
        return read_text(config)
    if palette:
        if palette not in PALETTES:
            raise LauncherError(f"There is no palette '{palette}'. The palettes are: {', '.join(PALETTES)}.")
        return palette_of(PALETTES[palette], style or "palette")
    return palette_of(values, style or "palette") if values else None
