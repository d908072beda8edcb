"""Model versions, one line per project: immutable folders, and a pointer to the champion.

Layout under the registry's root: `<project>/<version>/weights.pt`, `<project>/<version>/manifest.json`, and the file
`<project>/champion` that holds a version's name. Everything is written beside its place and moved there in one step.
Where several machines share the versions (`STORAGE_URL`), the root holds this machine's copies.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from backend.errors import ModelError, NotFoundError, StorageError
from backend.registry.files import MANIFEST, OWN_FILES, Files
from backend.registry.shared_files import SharedFiles
from backend.settings import Settings
from backend.storage.atomic_files import staging_folder
from backend.storage.store import Storage, open_storage

logger = logging.getLogger(__name__)

MODELS, CHAMPION = "models", "champion"
PROJECT = re.compile("[0-9]{1,19}")
NAME = re.compile(r"[a-z0-9]{1,20}-seg-v(\d+)-[0-9a-f]{6}")


@dataclass(frozen=True)
class Version:
    """One stored model.

    Attributes:
        weights: path of the `.pt` file; `check_weights` fetches the file if it is not there.
        classes: the model's class names, in its own order.
        parent: the version it was fine-tuned from; None for the first.
        created_at: ISO 8601, UTC.
        metrics: name → value, such as `mask_map50` in `[0, 1]`.
        annotations: id → content hash of every annotation it was trained on.
        image_size_px: the image size at which it was trained and works best.
        dataset: hash of the data it was trained and evaluated on; empty if unknown.
        settings: the settings it was trained with.
        packages: name → release of the packages that trained it.
        files: the interface through which its files are read and written.
    """

    name: str
    project_id: int
    # Not compared, because each machine has its own copy.
    weights: Path = field(compare=False)
    weights_sha256: str
    classes: tuple[str, ...]
    parent: str | None
    created_at: str
    metrics: dict[str, float] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    image_size_px: int = 640
    origin: Literal["starter", "training"] = "training"
    dataset: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    files: Files = field(default=OWN_FILES, compare=False, repr=False)

    @property
    def number(self) -> int:
        """The version's number in the project's line, from 1."""
        return _number(self.name)


class Registry:
    """All versions of all projects under one folder. Safe for several processes, and for machines that share it."""

    def __init__(self, root: Path, files: Files = OWN_FILES) -> None:
        self.root = root
        self._files = files
        # Manifests are cached: they never change, are long (they list every annotation), and every request reads them.
        self._read_before: dict[Path, tuple[int, Version]] = {}
        self._champions: dict[int, Version] = {}

    @classmethod
    def of(cls, settings: Settings, *, report: Callable[[str], None] = logger.warning) -> Registry:
        """Returns the registry that the settings name; `report` receives a message when the storage is unreachable."""
        storage = open_storage(settings)
        if storage is None:
            return cls(settings.models_path)
        return cls.shared(storage, settings.cache_path, report=report)

    @classmethod
    def shared(cls, storage: Storage, cache: Path, *, report: Callable[[str], None] = logger.warning) -> Registry:
        """Returns the registry in a storage; copies of the files read lie below `cache`, a folder of this machine."""
        root = cache / MODELS
        return cls(root, SharedFiles(storage, root, under=MODELS, report=report))

    def look_anew(self, project_id: int) -> None:
        """Makes all changes visible that other machines have made to the project's versions up to now."""
        self._files.look_anew(self._folder(project_id))

    def project_ids(self) -> list[int]:
        """Returns the ids of the projects that have versions, in ascending order."""
        return sorted(int(name) for name in self._files.names(self.root) if PROJECT.fullmatch(name))

    def versions(self, project_id: int) -> list[Version]:
        """Returns the project's versions, oldest first; versions that cannot be read are logged and left out."""
        folder = self._folder(project_id)
        found = [self._read(folder / name, project_id) for name in self._files.names(folder)]
        return sorted((version for version in found if version), key=lambda version: _number(version.name))

    def version(self, project_id: int, name: str) -> Version:
        """Returns the project's version of that name.

        Raises:
            NotFoundError: the project has no such version.
        """
        version = self._read(self._folder(project_id) / name, project_id)
        if version is None:
            raise NotFoundError(f"Project {project_id} has no model version '{name}'.")
        return version

    def version_before(self, project_id: int) -> Version:
        """Returns the version that the champion was trained from: rolling back promotes it.

        Raises:
            NotFoundError: there is no such version.
        """
        champion = self.champion(project_id)
        if champion is None or champion.parent is None:
            raise NotFoundError(f"Project {project_id} has no earlier model to go back to.")
        return self.version(project_id, champion.parent)

    def champion(self, project_id: int) -> Version | None:
        """Returns the version that pre-annotates; None before the first.

        While the storage is unreachable, it returns the last known champion.

        Raises:
            StorageError: the storage is unreachable, and this process does not know the last champion.
        """
        folder = self._folder(project_id)
        try:
            name = self._files.current(folder / CHAMPION).read_text().strip()
            version = self._load(folder / name, project_id) if NAME.fullmatch(name) else None
        except FileNotFoundError:
            return None
        except StorageError:
            if project_id not in self._champions:
                raise
            return self._champions[project_id]
        if version is not None:
            self._champions[project_id] = version
        return version

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
        architecture: str = "yolo11n-seg",
        dataset: str = "",
        settings: Mapping[str, Any] | None = None,
        packages: Mapping[str, str] | None = None,
        beside: Mapping[str, str] | None = None,
    ) -> Version:
        """Stores a copy of `weights` as the project's next version, which is not the champion yet.

        Args:
            architecture: the beginning of the version's name.
            beside: file name → text of further files in the version's folder.

        Raises:
            ModelError: the version cannot be stored, for example on a full disk; nothing of it is visible then.
            StorageError: the storage is unreachable or refuses the version; nothing of it is visible then.
        """
        folder = self._folder(project_id)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            digest = hashlib.sha256(weights.read_bytes()).hexdigest()
            with self._files.locked(folder):
                last = max((_number(version.name) for version in self.versions(project_id)), default=0)
                number = self._files.next_number(folder, last=last)
                name = f"{architecture}-v{number}-{digest[:6]}"
                version = Version(
                    name=name,
                    project_id=project_id,
                    weights=folder / name / "weights.pt",
                    weights_sha256=digest,
                    classes=classes,
                    parent=parent,
                    created_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
                    metrics=metrics,
                    annotations=annotations,
                    image_size_px=image_size_px,
                    origin=origin,
                    dataset=dataset,
                    settings=dict(settings or {}),
                    packages=dict(packages or {}),
                    files=self._files,
                )
                self._store(version, weights, beside or {})
        except OSError as e:
            raise ModelError(f"A new model of project {project_id} cannot be stored: {e.strerror or e}.") from e
        return version

    def _store(self, version: Version, weights: Path, beside: Mapping[str, str]) -> None:
        target = version.weights.parent
        with staging_folder(target) as half:
            shutil.copyfile(weights, half / "weights.pt")
            for file, text in beside.items():
                (half / file).write_text(text)
            # Not `asdict`, which would also copy the objects behind `files`.
            facts = {key: value for key, value in vars(version).items() if key not in ("weights", "files")}
            (half / MANIFEST).write_text(json.dumps(facts, indent=1))
            self._files.add(half, target)

    def promote(self, project_id: int, name: str) -> None:
        """Makes a stored version the champion, in one step; rolling back uses it, too.

        Raises:
            NotFoundError: the project has no such version.
            StorageError: the storage is unreachable or refuses the change.
        """
        folder = self._folder(project_id)
        self.version(project_id, name)
        with self._files.locked(folder):
            before = self.champion(project_id)
            self._files.put(folder / CHAMPION, name + "\n", durable=True)
            self._files.look_anew(folder)
            if not self._files.has(folder / name / MANIFEST):
                # Another machine removed the version at the same time.
                self._files.put(folder / CHAMPION, f"{before.name if before else ''}\n", durable=True)
                raise NotFoundError(f"Project {project_id} has no model version '{name}'.")

    def remove(self, project_id: int, name: str) -> None:
        """Deletes a stored version; does nothing if the version is gone already.

        Raises:
            ModelError: the version is the champion.
        """
        folder = self._folder(project_id)

        def is_champion() -> bool:
            champion = self.champion(project_id)
            return champion is not None and champion.name == name

        with self._files.locked(folder):
            if not is_champion():
                if self._read(folder / name, project_id) is None:
                    return
                if self._files.remove(folder / name, is_needed=is_champion):
                    return
        raise ModelError(f"{name} is what project {project_id} works with.")

    def _folder(self, project_id: int) -> Path:
        return self.root / str(project_id)

    def _read(self, folder: Path, project_id: int) -> Version | None:
        if not NAME.fullmatch(folder.name):
            return None
        try:
            return self._load(folder, project_id)
        except StorageError as e:
            logger.warning("Model version %s of project %s is not here: %s", folder.name, project_id, e)
            return None

    def _load(self, folder: Path, project_id: int) -> Version | None:
        manifest = folder / MANIFEST
        try:
            written_ns = self._files.current(manifest).stat().st_mtime_ns
            known = self._read_before.get(manifest)
            if known is not None and known[0] == written_ns:
                return known[1]
            facts = json.loads(manifest.read_text())
            if (facts["name"], facts["project_id"]) != (folder.name, project_id):
                # A changed manifest may contain any path as its name, and files and messages are named after it.
                raise ValueError("It is not this version's manifest.")
            facts["classes"] = tuple(facts["classes"])
            version = Version(**facts, weights=folder / "weights.pt", files=self._files)
            self._read_before[manifest] = written_ns, version
            return version
        except (OSError, ValueError, TypeError, KeyError) as e:
            if self._files.has(manifest):
                logger.warning("Model version %s of project %s cannot be read: %s", folder.name, project_id, e)
            return None


def check_weights(version: Version) -> None:
    """Compares the weights on disk with the version's manifest; fetches them first if machines share them.

    Raises:
        ModelError: the weights are missing or were changed.
        StorageError: the weights are not on this machine, and the storage is unreachable.
    """
    if _digest(version) == version.weights_sha256:
        return
    # This machine's copy may be damaged: it is fetched again.
    version.files.current(version.weights, anew=True)
    if _digest(version) != version.weights_sha256:
        raise ModelError(f"The weights of model version '{version.name}' were changed after they were stored.")


def _digest(version: Version) -> str:
    try:
        return hashlib.sha256(version.files.current(version.weights).read_bytes()).hexdigest()
    except OSError as e:
        raise ModelError(f"The weights of model version '{version.name}' are missing.") from e


def _number(name: str) -> int:
    match = NAME.fullmatch(name)
    return int(match[1]) if match else 0
