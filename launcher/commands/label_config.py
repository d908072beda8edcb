"""The label config that a command's options select."""

from __future__ import annotations

from pathlib import Path

from label_studio_config.palette_xml import palette as palette_of
from label_studio_config.palettes import PALETTES
from launcher.errors import LauncherError


def label_config_for(*, palette: str, labels: str, config: Path | None) -> str | None:
    """Returns the XML for a shipped palette, for comma-separated labels or from a file; None if no option is given.

    Raises:
        LauncherError: more than one option is given, the palette does not exist, or the file cannot be read.
    """
    if sum(map(bool, (palette, labels, config))) > 1:
        raise LauncherError("Give one of --palette, --labels and --config.")
    if config is not None:
        try:
            return config.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as e:
            raise LauncherError(f"{config} cannot be read: {e}") from e
    if palette:
        if palette not in PALETTES:
            raise LauncherError(f"There is no palette '{palette}'. There are: {', '.join(PALETTES)}.")
        return palette_of(PALETTES[palette])
    wanted = tuple(dict.fromkeys(label.strip() for label in labels.split(",") if label.strip()))
    return palette_of(wanted) if wanted else None
