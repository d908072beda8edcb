"""Model versions on disk, one line a project: immutable folders, and a pointer to the champion.

Layout under the registry's root: `<project>/<version>/weights.pt`, `<project>/<version>/manifest.json`, and the file
`<project>/champion` that holds a version's name. Everything is written beside its place and moved there in one step.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Literal

from filelock import FileLock

from backend.errors import ModelError

logger = logging.getLogger(__name__)

NAME = re.compile(r"yolo11n?-seg-v(\d+)-[0-9a-f]{6}")


@dataclass(frozen=True)
class Version:
    """One model.

    Attributes:
        weights: path of the `.pt` file.
        classes: the model's class names, in its own order.
        parent: the version it was fine-tuned from; None for the first.
        created_at: ISO 8601, UTC.
        metrics: by name, such as `mask_map50` in `[0, 1]`.
        annotations: id → content hash of every annotation it was trained on.
        image_size_px: the size it was trained at, and sees best.
    """

    name: str
    project_id: int
    weights: Path
    weights_sha256: str
    classes: tuple[str, ...]
    parent: str | None
    created_at: str
    metrics: dict[str, float] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    image_size_px: int = 640
    origin: Literal["starter", "training"] = "training"

    @property
    def number(self) -> int:
        """Its place in the project's line, from 1."""
        return _number(self.name)


class Registry:
    """All versions of all projects under one folder. Safe for several processes."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def project_ids(self) -> list[int]:
        """Projects that have at least one version, in order."""
        if not self.root.is_dir():
            return []
        return sorted(int(entry.name) for entry in self.root.iterdir() if entry.is_dir() and entry.name.isdigit())

    def versions(self, project_id: int) -> list[Version]:
        """The project's versions, oldest first; folders that hold no readable version are passed over and logged."""
        folder = self._folder(project_id)
        found = [self._read(entry, project_id) for entry in folder.iterdir()] if folder.is_dir() else []
        return sorted((version for version in found if version), key=lambda version: _number(version.name))

    def champion(self, project_id: int) -> Version | None:
        """The version that pre-annotates; None before the first."""
        try:
            name = (self._folder(project_id) / "champion").read_text().strip()
        except FileNotFoundError:
            return None
        return self._read(self._folder(project_id) / name, project_id) if NAME.fullmatch(name) else None

    def add(
        self,
        project_id: int,
        *,
        weights: Path,
        classes: tuple[str, ...],
        parent: str | None,
        metrics: dict[str, float],
        annotations: dict[str, str],
        image_size_px: int,
        origin: Literal["starter", "training"],
    ) -> Version:
        """Stores a copy of `weights` as the project's next version; it is not the champion yet."""
        folder = self._folder(project_id)
        folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(weights.read_bytes()).hexdigest()
        with self._locked(project_id):
            number = max((_number(version.name) for version in self.versions(project_id)), default=0) + 1
            name = f"yolo11n-seg-v{number}-{digest[:6]}"
            version = Version(
                name=name, project_id=project_id, weights=folder / name / "weights.pt", weights_sha256=digest,
                classes=classes, parent=parent, created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
                metrics=metrics, annotations=annotations, image_size_px=image_size_px, origin=origin,
            )  # fmt: skip
            half = Path(tempfile.mkdtemp(prefix=".half-", dir=folder))
            shutil.copyfile(weights, half / "weights.pt")
            manifest = {key: value for key, value in asdict(version).items() if key != "weights"}
            (half / "manifest.json").write_text(json.dumps(manifest, indent=1))
            for file in half.iterdir():
                _sync(file)
            half.rename(folder / name)
        return version

    def promote(self, project_id: int, name: str) -> None:
        """Makes a stored version the champion, in one step; also how one rolls back.

        Raises:
            ModelError: the project has no such version.
        """
        folder = self._folder(project_id)
        if self._read(folder / name, project_id) is None:
            raise ModelError(f"Project {project_id} has no model version '{name}'.")
        with self._locked(project_id):
            half = folder / ".champion.half"
            half.write_text(name + "\n")
            _sync(half)
            half.replace(folder / "champion")

    def remove(self, project_id: int, name: str) -> None:
        """Deletes a stored version; one that is gone already is no failure.

        Raises:
            ModelError: it is the champion.
        """
        folder = self._folder(project_id)
        with self._locked(project_id):
            champion = self.champion(project_id)
            if champion is not None and champion.name == name:
                raise ModelError(f"{name} is what project {project_id} works with.")
            if self._read(folder / name, project_id) is None:
                return
            # Out of sight in one step: a half-deleted folder is no version.
            gone = Path(tempfile.mkdtemp(prefix=".gone-", dir=folder))
            (folder / name).rename(gone / name)
        shutil.rmtree(gone, ignore_errors=True)

    def _folder(self, project_id: int) -> Path:
        return self.root / str(project_id)

    @contextmanager
    def _locked(self, project_id: int) -> Iterator[None]:
        with FileLock(self._folder(project_id) / ".lock"):
            yield

    def _read(self, folder: Path, project_id: int) -> Version | None:
        if not NAME.fullmatch(folder.name):
            return None
        try:
            facts = json.loads((folder / "manifest.json").read_text())
            facts["classes"] = tuple(facts["classes"])
            return Version(**facts, weights=folder / "weights.pt")
        except (OSError, ValueError, TypeError, KeyError) as e:
            logger.warning("Model version %s of project %s cannot be read: %s", folder.name, project_id, e)
            return None


def check_weights(version: Version) -> None:
    """Compares the weights on disk with the version's manifest.

    Raises:
        ModelError: they are missing or were changed.
    """
    try:
        digest = hashlib.sha256(version.weights.read_bytes()).hexdigest()
    except OSError as e:
        raise ModelError(f"The weights of model version '{version.name}' are missing.") from e
    if digest != version.weights_sha256:
        raise ModelError(f"The weights of model version '{version.name}' were changed after they were stored.")


def _number(name: str) -> int:
    match = NAME.fullmatch(name)
    return int(match[1]) if match else 0


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
