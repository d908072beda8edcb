"""`drape doctor` checks weights: those that settings name, and those of each project's current model."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from backend.errors import ModelError, StorageError
from backend.registry.registry import Registry, check_weights
from backend.settings import Settings
from launcher.doctor.findings import Finding, looked

# First bytes of a checkpoint from torch before 1.6; later checkpoints are ZIP archives.
OLD_CHECKPOINT = b"\x80\x02"
YOLO11_SIZES = ("n", "s", "m", "l", "x")
HOW_TO_GO_BACK = "Restore the file from a backup, or go back to another version: `drape models rollback`."


def look_at_weights(settings: Settings) -> list[Finding]:
    """Checks every file of weights that the settings or the registry name."""
    return [
        *looked("weights", lambda: _named(settings), remedy="Look at the file that the setting names."),
        *looked("models", lambda: _champions(Registry.of(settings)), remedy="Look at MODEL_DIR."),
    ]


def _named(settings: Settings) -> Iterator[Finding]:
    sam3 = settings.sam3_weights or ("sam3.pt" if settings.segmenter == "sam3" else "")
    sam = settings.sam_weights or ("sam2.1_b.pt" if settings.segmenter == "sam" else "")
    if sam3:
        yield _file("SAM3_WEIGHTS", sam3, may_be_fetched=False)
    if sam:
        yield _file("SAM_WEIGHTS", sam, may_be_fetched=not _is_path(sam))
    if not (sam3 or sam):
        yield Finding(
            "weights", "ok", "Neither SAM3_WEIGHTS nor SAM_WEIGHTS is set: clicks are answered without weights."
        )
    base = settings.yolo11_base
    if base in YOLO11_SIZES:
        yield _file("YOLO11_BASE", f"yolo11{base}-seg.pt", may_be_fetched=True)
    else:
        yield _file("YOLO11_BASE", base, may_be_fetched=False)


def _file(setting: str, named: str, *, may_be_fetched: bool) -> Finding:
    path = Path(named)
    if not path.is_file():
        if may_be_fetched:
            return Finding(
                setting,
                "warning",
                f"{named} is not in this folder: Ultralytics looks in its own, else downloads it.",
                f"Where this machine has no internet, put the file somewhere and set {setting} to its path.",
            )
        return Finding(setting, "failed", f"There is no file '{named}'.", f"Set {setting} to the path of the weights.")
    try:
        with path.open("rb") as file:
            start = file.read(len(OLD_CHECKPOINT))
        # The directory of a ZIP archive is at its end, so a truncated archive has none.
        readable = start == OLD_CHECKPOINT or zipfile.is_zipfile(path)
    except OSError as e:
        return Finding(setting, "failed", f"'{named}' cannot be read: {e.strerror}.", "Give this account the right to.")
    if not readable:
        return Finding(setting, "failed", f"'{named}' is no checkpoint, or was cut short.", "Download it again.")
    return Finding(setting, "ok", f"{named}, {path.stat().st_size / 1e6:.0f} MB.")


def _champions(registry: Registry) -> Iterator[Finding]:
    """Checks, for each project with versions, whether the champion's weights are those that were stored."""
    for project_id in registry.project_ids():
        name = f"model of project {project_id}"
        champion = registry.champion(project_id)
        if champion is None:
            if registry.versions(project_id):
                yield Finding(
                    name,
                    "warning",
                    "None of its versions is the current one, or that one cannot be read.",
                    f"Choose one: `drape models list --project {project_id}`, then `drape models promote`.",
                )
            continue
        try:
            check_weights(champion)
        except StorageError as e:
            yield Finding(name, "failed", str(e), "See what is said of the storage.")
        except ModelError as e:
            yield Finding(name, "failed", str(e), HOW_TO_GO_BACK)
        else:
            yield Finding(name, "ok", f"{champion.name}; its weights are those that were stored.")


def _is_path(named: str) -> bool:
    return "/" in named or "\\" in named
