"""Where libraries keep their own settings and caches: in the data directory, and not in the home of who runs Drape."""

from __future__ import annotations

from pathlib import Path


def library_folders(data_dir: Path) -> dict[str, str]:
    """The environment variables that name the folders of Ultralytics and matplotlib; the folders need not exist.

    Ultralytics does not print that it creates its settings file.
    """
    folder = data_dir.absolute()
    return {"YOLO_CONFIG_DIR": str(folder), "YOLO_VERBOSE": "false", "MPLCONFIGDIR": str(folder / "matplotlib")}
