"""Exports a model version to another engine's format for real-time use, compares it with PyTorch, and times it."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from backend.compute.quiet_ultralytics import captured_warnings, quiet_ultralytics
from backend.domain import Image
from backend.errors import LabelConfigError, LabelStudioError, ModelError, first_line
from backend.images.decode import decode_image
from backend.images.fetch import ImageStore
from backend.images.sample import sample_images
from backend.label_studio.client import LabelStudio
from backend.registry.files import NETWORK
from backend.registry.registry import Version, check_weights
from backend.settings import Settings
from backend.storage.atomic_files import staging_folder
from training.model_export.compare import Check, compare
from training.model_export.formats import FAILURES, EngineFormat, find_format, missing_packages

logger = logging.getLogger(__name__)

RECORD_FILE = "export.json"
# The folder of the exports, among a version's files.
EXPORTS = "exports"


@dataclass(frozen=True)
class Export:
    """An exported model, and its comparison with PyTorch.

    Attributes:
        version: the model version's name.
        format: Ultralytics' name of the format.
        file: name of the exported file or folder, from which Ultralytics knows how to load it.
        half: whether the export computes in half precision.
        image_size_px: longer side of the images that the model gets.
        any_shape: whether the export takes images of any shape; if not, it takes only squares.
        device: the device that the model was exported and compared on.
        check: the comparison; None where the export does not run on this machine.
        problem: why the export does not run.
    """

    version: str
    format: str
    file: str
    half: bool
    image_size_px: int
    any_shape: bool
    device: str
    check: Check | None
    problem: str = ""


def export_version(
    version: Version,
    images: Callable[[], Sequence[Image]],
    *,
    format_name: str,
    half: bool,
    device: str,
    to: Path | None = None,
) -> tuple[Path, Export]:
    """Exports a version into a folder of its own, replacing an earlier export; the folder is complete or absent.

    Args:
        images: returns the images to compare on, see `compare`; called only after the export succeeded.
        half: whether the export computes in half precision.
        device: the device that models run on here, as Ultralytics names it.
        to: the folder; None to store the export with the version.

    Returns:
        The folder with the exported model, and the `Export` that `export.json` in that folder records.

    Raises:
        ModelError: the version is no YOLO, the format is unknown or cannot be made on this machine, the version's
            weights are damaged, or the folder holds something else or cannot be written.
    """
    check_weights(version)
    if version.network != "yolo":
        network, weights = version.files.fetch(NETWORK), version.weights
        raise ModelError(
            f"{version.name} is no YOLO, and Ultralytics exports no other network. For OpenVINO it is exported "
            f"already: copy {network} and, beside it as network.bin, {weights}."
        )
    kind = find_format(format_name, half=half, device=device)
    name = f"{EXPORTS}/{kind.name}{'-half' if half else ''}"
    folder = to or version.files.folder / name
    if folder.exists() and any(folder.iterdir()) and not (folder / RECORD_FILE).is_file():
        raise ModelError(f"{folder} contains other files than an export. Nothing was written.")
    try:
        with staging_folder(folder, private=False) as aside:
            exported = _export(version, kind, half=half, folder=aside)
            check, problem = _check(version, kind, exported, images(), half=half)
            export = Export(
                version.name,
                kind.name,
                exported.name,
                half,
                version.image_size_px,
                kind.any_shape,
                kind.device,
                check,
                problem,
            )
            (aside / RECORD_FILE).write_text(json.dumps(asdict(export), indent=1))
            if to is None:
                version.files.put_folder(name, aside)
                folder = version.files.fetch_folder(name)
            else:
                shutil.rmtree(folder, ignore_errors=True)
                aside.rename(folder)
    except OSError as e:
        raise ModelError(f"The export cannot be written to {folder}: {first_line(e)}") from e
    return folder, export


def example_images(settings: Settings, version: Version) -> list[Image]:
    """Loads images to compare on, with at most the version's image size: the project's own, if possible.

    If Label Studio fails, or the project has no readable image, the photographs in Ultralytics' package are used.
    """
    label_studio, side_px = LabelStudio(settings), version.image_size_px
    store = ImageStore(settings, bearer=label_studio.bearer)
    try:
        images = sample_images(label_studio, store, project_id=version.project_id, side_px=side_px)
        if images:
            return images
        reason = "The project has no readable image."
    except (LabelStudioError, LabelConfigError) as e:
        reason = str(e)
    logger.warning("Compared on Ultralytics' photographs, not the project's: %s", reason)
    return [
        decode_image(path.read_bytes(), source=path.name, max_pixels=settings.image_max_pixels, side_px=side_px)
        for path in sorted(Path(quiet_ultralytics().utils.ASSETS).glob("*.jpg"))
    ]


def _export(version: Version, kind: EngineFormat, *, half: bool, folder: Path) -> Path:
    """Exports the version, and returns the exported file or folder, which is alone in `folder`."""
    # Ultralytics writes the export and its temporary files beside the weights.
    work = folder / "work"
    work.mkdir(parents=True)
    weights = Path(shutil.copyfile(version.weights, work / f"{version.name}.pt"))
    arguments = {"format": kind.name, "imgsz": version.image_size_px, "device": kind.device}
    arguments |= {"dynamic": True} if kind.any_shape else {}
    arguments |= {"quantize": 16} if half else {}
    with captured_warnings() as warnings:
        try:
            exported_path = quiet_ultralytics().YOLO(weights, task="segment").export(**arguments)
        except FAILURES as e:
            raise ModelError(
                f"{kind.title} cannot be made here. {missing_packages(warnings, e) or first_line(e)}"
            ) from e
    exported = Path(exported_path).rename(folder / Path(exported_path).name)
    shutil.rmtree(work)
    return exported


def _check(
    version: Version, kind: EngineFormat, exported: Path, images: Sequence[Image], *, half: bool
) -> tuple[Check | None, str]:
    try:
        check = compare(
            version.weights,
            exported,
            images,
            image_size_px=version.image_size_px,
            any_shape=kind.any_shape,
            half=half,
            device=kind.device,
        )
    except ModelError as e:
        return None, str(e)
    return check, ""
