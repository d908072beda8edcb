"""`drape doctor` checks weights: those that settings name, and those of each project's current model."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path

from backend.errors import ModelError, StorageError
from backend.registry.registry import Registry, check_weights
from backend.segmenters.sam_weights import AUTO, auto_weights
from backend.settings import Settings
from launcher.doctor.findings import Finding, run_check

# First bytes of a checkpoint from torch before 1.6; later checkpoints are ZIP archives.
OLD_CHECKPOINT_MAGIC = b"\x80\x02"
YOLO11_SIZES = ("n", "s", "m", "l", "x")


def check_weight_files(settings: Settings) -> list[Finding]:
    """Checks every file of weights that the settings or the registry name."""
    return [
        *run_check("weights", lambda: _check_settings(settings), remedy="Check the file that the setting names."),
        *run_check("models", lambda: _check_champions(Registry.of(settings)), remedy="Check MODEL_DIR."),
    ]


def _check_settings(settings: Settings) -> Iterator[Finding]:
    sam3 = settings.sam3_weights or ("sam3.pt" if settings.segmenter == "sam3" else "")
    sam = "" if settings.sam_weights == AUTO and settings.segmenter in ("sam3", "builtin") else settings.sam_weights
    if sam3:
        yield _check_file("SAM3_WEIGHTS", sam3, downloadable=False)
    if sam == AUTO:
        yield _check_auto(settings)
    elif sam:
        yield _check_file("SAM_WEIGHTS", sam, downloadable="/" not in sam and "\\" not in sam)
    elif settings.segmenter == "sam":
        message = "SEGMENTER=sam, and SAM_WEIGHTS is empty: no click is answered."
        yield Finding("SAM_WEIGHTS", "failed", message, "Set SAM_WEIGHTS to a path, or to `auto`.")
    elif not sam3:
        message = "Neither SAM3_WEIGHTS nor SAM_WEIGHTS is set: clicks are answered without a model."
        yield Finding("weights", "ok", message)
    base = settings.yolo11_base
    if base in YOLO11_SIZES:
        yield _check_file("YOLO11_BASE", f"yolo11{base}-seg.pt", downloadable=True)
    else:
        yield _check_file("YOLO11_BASE", base, downloadable=False)


def _check_auto(settings: Settings) -> Finding:
    path = auto_weights(settings)
    if path.is_file():
        return _check_file("SAM_WEIGHTS", str(path), downloadable=False)
    message = f"{path.name} is not downloaded (SAM_WEIGHTS=auto). A backend without SAM 3 downloads it when it starts."
    return Finding("SAM_WEIGHTS", "ok", f"{message} Without internet, copy it into {path.parent}.")


def _check_file(setting: str, file: str, *, downloadable: bool) -> Finding:
    path = Path(file)
    if not path.is_file():
        if downloadable:
            message = f"{file} is not in this folder. Ultralytics uses its own copy, or downloads the file."
            remedy = f"If this machine has no internet access, copy the file here and set {setting} to its path."
            return Finding(setting, "warning", message, remedy)
        return Finding(setting, "failed", f"There is no file '{file}'.", f"Set {setting} to the path of the weights.")
    try:
        with path.open("rb") as opened:
            magic = opened.read(len(OLD_CHECKPOINT_MAGIC))
        # The directory of a ZIP archive is at its end, so a truncated archive has none.
        readable = magic == OLD_CHECKPOINT_MAGIC or zipfile.is_zipfile(path)
    except OSError as e:
        return Finding(setting, "failed", f"'{file}' cannot be read: {e.strerror}.", "Let this account read the file.")
    if not readable:
        return Finding(setting, "failed", f"'{file}' is not a checkpoint, or is cut short.", "Download it again.")
    return Finding(setting, "ok", f"{file}, {path.stat().st_size / 1e6:.0f} MB.")


def _check_champions(registry: Registry) -> Iterator[Finding]:
    """Checks, for each project with versions, whether the champion's weights are those that were stored."""
    for project_id in registry.project_ids():
        name = f"model of project {project_id}"
        champion = registry.champion(project_id)
        if champion is None:
            if registry.versions(project_id):
                message = "It has no current version, or that version cannot be read."
                remedy = f"Choose a version: `drape models list --project {project_id}`, then `drape models promote`."
                yield Finding(name, "warning", message, remedy)
            continue
        try:
            check_weights(champion)
        except StorageError as e:
            yield Finding(name, "failed", str(e), "See the finding `storage`.")
        except ModelError as e:
            remedy = "Restore the file from a backup, or promote the previous version: `drape models rollback`."
            yield Finding(name, "failed", str(e), remedy)
        else:
            yield Finding(name, "ok", f"{champion.name}. Its weights are unchanged.")
