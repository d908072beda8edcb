"""Model versions, one line per project: immutable weights with a manifest, and an index that names the champion.

`index` says how a project's versions are named and changed in one step, and `files` where their files lie. Where
several machines share the versions (`STORAGE_URL`), the registry's folder holds this machine's copies.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any, Literal

from backend.errors import ModelError, NotFoundError, StorageError
from backend.registry.files import MANIFEST, NETWORK, NETWORK_WEIGHTS, WEIGHTS, ModelFiles, VersionFiles, sha256_of
from backend.registry.index import NAME, Index, Indexes, SharedIndexes
from backend.settings import Settings
from backend.storage.store import Folder, Storage, open_storage

logger = logging.getLogger(__name__)

# Beginning of the names of all model files in a storage, and the folder of this machine's copies.
MODELS = "models"
# `yolo`: one of Ultralytics'. The others are exported networks of other architectures, told apart by their outputs.
NetworkKind = Literal["yolo", "instances", "label map"]


@dataclass(frozen=True)
class Version:
    """One stored model.

    Attributes:
        weights: path of the `.pt` file, of an exported network the `.bin` file; `check_weights` fetches the file if it
            is not there.
        classes: the model's class names, in its own order.
        parent: the champion when it was made, to which rolling back goes; it was fine-tuned from that, or from the
            newest YOLO before that. None for the first.
        created_at: ISO 8601, UTC.
        metrics: name → value, such as `mask_map50` in `[0, 1]`.
        annotations: id → content hash of every annotation it was trained on.
        image_size_px: the image size at which it was trained and works best.
        dataset: hash of the data it was trained and evaluated on; empty if unknown.
        settings: the settings it was trained with.
        packages: name → release of the packages that trained it.
        network: what its weights are.
        files: its files.
    """

    name: str
    project_id: int
    # Not compared, because each machine has its own copy.
    weights: Path = field(compare=False)
    weights_sha256: str
    classes: tuple[str, ...]
    parent: str | None
    created_at: str
    files: VersionFiles = field(compare=False, repr=False)
    metrics: dict[str, float] = field(default_factory=dict)
    annotations: dict[str, str] = field(default_factory=dict)
    image_size_px: int = 640
    origin: Literal["starter", "training", "comparison"] = "training"
    dataset: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    packages: dict[str, str] = field(default_factory=dict)
    network: NetworkKind = "yolo"

    @property
    def number(self) -> int:
        """The version's number in the project's line, from 1."""
        match = NAME.fullmatch(self.name)
        return int(match[1]) if match else 0


class Registry:
    """All versions of all projects. Safe for several threads and processes, and for machines that share it."""

    def __init__(self, root: Path, files: ModelFiles | None = None) -> None:
        """Without `files`, the versions lie below `root` and only this machine uses them."""
        self.root = root
        if files is None:
            storage = Folder(root, setting="MODEL_DIR")
            files = ModelFiles(storage, Indexes(storage), copies=root)
        self.files = files
        # Manifests are cached: they never change, are long (they list every annotation), and every request reads them.
        self._loaded: dict[tuple[int, str], tuple[str, Version]] = {}
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
        root, prefix = cache / MODELS, f"{MODELS}/"
        indexes = SharedIndexes(storage, prefix, root, report=report)
        return cls(root, ModelFiles(storage, indexes, copies=root, prefix=prefix))

    def look_anew(self, project_id: int) -> None:
        """Makes all changes visible that other machines have made to the project's versions up to now."""
        self.files.indexes.read(project_id, anew=True)

    def project_ids(self) -> list[int]:
        """Returns the ids of the projects that have or had versions, in ascending order."""
        return self.files.indexes.project_ids()

    def versions(self, project_id: int) -> list[Version]:
        """Returns the project's versions, oldest first; versions that cannot be read are logged and left out."""
        index = self.files.indexes.read(project_id)
        versions = [self._read(project_id, name, index) for name in index.versions]
        return sorted((version for version in versions if version), key=lambda version: version.number)

    def version(self, project_id: int, name: str) -> Version:
        """Returns the project's version of that name.

        Raises:
            NotFoundError: the project has no such version.
        """
        version = self._read(project_id, name, self.files.indexes.read(project_id))
        if version is None:
            raise NotFoundError(f"Project {project_id} has no model version '{name}'.")
        return version

    def version_before(self, project_id: int) -> Version:
        """Returns the champion's parent: rolling back promotes it.

        Raises:
            NotFoundError: there is no such version.
        """
        champion = self.champion(project_id)
        if champion is None or champion.parent is None:
            raise NotFoundError(f"Project {project_id} has no earlier model to go back to.")
        return self.version(project_id, champion.parent)

    def line_of(self, version: Version | None) -> list[Version]:
        """Returns a version, its parent, the parent of that, and so on, so far as they are not deleted."""
        by_name = {one.name: one for one in self.versions(version.project_id)} if version else {}
        line: list[Version] = []
        while version is not None:
            line.append(version)
            version = by_name.get(version.parent or "")
        return line

    def newest_yolo(self, version: Version | None) -> Version | None:
        """Returns the first YOLO in the line of a version, from which a training goes on; None if there is none."""
        return next((one for one in self.line_of(version) if one.network == "yolo"), None)

    def champion(self, project_id: int) -> Version | None:
        """Returns the version that pre-annotates; None before the first.

        While the storage is unreachable, it returns the last known champion.

        Raises:
            StorageError: the storage is unreachable, and this process does not know the last champion.
        """
        try:
            index = self.files.indexes.read(project_id)
            version = self._load(project_id, index.champion, index)
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
        origin: Literal["starter", "training", "comparison"],
        architecture: str = "yolo11n-seg",
        dataset: str = "",
        settings: Mapping[str, Any] | None = None,
        packages: Mapping[str, str] | None = None,
        network: NetworkKind = "yolo",
        beside: Mapping[str, str] | None = None,
    ) -> Version:
        """Stores a copy of `weights` as the project's next version, which is not the champion yet.

        Args:
            architecture: the beginning of the version's name.
            beside: file name → text of further files of the version; of an exported network, `NETWORK` among them.

        Raises:
            ModelError: the version cannot be stored, for example on a full disk; nothing of it is visible then.
            StorageError: the storage is unreachable or refuses the version; nothing of it is visible then.
        """
        added: list[tuple[Version, dict[str, str]]] = []

        def edit(index: Index) -> Index:
            if added and index.versions.get(added[-1][0].name) == added[-1][1]:
                return index  # It was stored, although an answer of the storage was lost.
            number = index.last_number + 1
            name = f"{architecture}-v{number}-{digest[:6]}"
            version = Version(
                name=name,
                project_id=project_id,
                weights=self._weights(project_id, name, digest, network),
                weights_sha256=digest,
                classes=classes,
                parent=parent,
                # With microseconds: two machines may add the same weights in the same second.
                created_at=datetime.now(timezone.utc).isoformat(timespec="microseconds"),
                metrics=metrics,
                annotations=annotations,
                image_size_px=image_size_px,
                origin=origin,
                dataset=dataset,
                settings=dict(settings or {}),
                packages=dict(packages or {}),
                network=network,
                files=VersionFiles(self.files, project_id, name),
            )
            contents: dict[str, bytes | Path] = {
                _weights_file(network): weights,
                MANIFEST: _manifest(version),
            }
            contents |= {path: text.encode() for path, text in (beside or {}).items()}
            digests = self.files.store(project_id, name, contents)
            added.append((version, digests))
            return replace(index, last_number=number, versions={**index.versions, name: digests})

        try:
            digest = sha256_of(weights)
            index = self.files.indexes.change(project_id, edit)
            self.files.clean(project_id, index)
        except OSError as e:
            raise ModelError(f"A new model of project {project_id} cannot be stored: {e.strerror or e}.") from e
        return added[-1][0]

    def promote(self, project_id: int, name: str, *, instead_of: str | None = None) -> bool:
        """Makes a stored version the champion, in one step; rolling back uses it, too.

        Args:
            instead_of: the name of the champion that it may take the place of, '' for none; None for any.

        Returns:
            False where the champion is another than `instead_of` by now, and stays.

        Raises:
            NotFoundError: the project has no such version.
            StorageError: the storage is unreachable or refuses the change, for example because its disk is full.
        """

        def edit(index: Index) -> Index:
            if name not in index.versions:
                raise NotFoundError(f"Project {project_id} has no model version '{name}'.")
            if (
                instead_of is not None
                and index.champion != instead_of
                and self._load(project_id, index.champion, index)
            ):
                return index
            return replace(index, champion=name)

        return self.files.indexes.change(project_id, edit).champion == name

    def remove(self, project_id: int, name: str) -> None:
        """Deletes a stored version; does nothing if the version is gone already.

        Raises:
            ModelError: the version is the champion.
            StorageError: the storage is unreachable or refuses the change.
        """

        def edit(index: Index) -> Index:
            if name == index.champion:
                raise ModelError(f"{name} is the current model of project {project_id}. Promote another one first.")
            kept = {other: files for other, files in index.versions.items() if other != name}
            return replace(index, versions=kept)

        self.files.clean(project_id, self.files.indexes.change(project_id, edit))

    def _weights(self, project_id: int, name: str, digest: str, network: NetworkKind) -> Path:
        return self.files.copies / self.files.location(project_id, name, _weights_file(network), digest)

    def _read(self, project_id: int, name: str, index: Index) -> Version | None:
        try:
            return self._load(project_id, name, index)
        except StorageError as e:
            logger.warning("Model version %s of project %s is not on this machine: %s", name, project_id, e)
            return None

    def _load(self, project_id: int, name: str, index: Index) -> Version | None:
        digest = index.versions.get(name, {}).get(MANIFEST)
        if digest is None:
            return None
        digest_before, version = self._loaded.get((project_id, name), ("", None))
        if version is not None and digest_before == digest:
            return version
        try:
            facts = json.loads(self.files.fetch(project_id, name, MANIFEST, digest).read_text())
            if (facts["name"], facts["project_id"]) != (name, project_id):
                # A changed manifest may contain any path as its name, and files and messages are named after it.
                raise ValueError("It is not this version's manifest.")
            facts["classes"] = tuple(facts["classes"])
            # Manifests of before there were others name no network.
            weights = self._weights(project_id, name, facts["weights_sha256"], facts.get("network", "yolo"))
            version = Version(**facts, weights=weights, files=VersionFiles(self.files, project_id, name))
        except (OSError, ValueError, TypeError, KeyError, ModelError) as e:
            logger.warning("Model version %s of project %s cannot be read: %s", name, project_id, e)
            return None
        self._loaded[project_id, name] = digest, version
        return version


def check_weights(version: Version) -> None:
    """Compares the weights with the version's manifest; fetches what computes it if that is not on this machine.

    Raises:
        ModelError: the weights are missing or were changed.
        StorageError: the weights are not on this machine, and the storage is unreachable.
    """
    file = _weights_file(version.network)
    try:
        version.files.fetch(file)
        if version.network != "yolo":
            version.files.fetch(NETWORK)
        if version.files.digests()[file] == version.weights_sha256:
            return
    except OSError as e:
        raise ModelError(f"The weights of model version '{version.name}' are missing.") from e
    raise ModelError(f"The weights of model version '{version.name}' are not those that its manifest names.")


def _weights_file(network: NetworkKind) -> str:
    return WEIGHTS if network == "yolo" else NETWORK_WEIGHTS


def _manifest(version: Version) -> bytes:
    # Not `asdict`, which would also copy the objects behind `files`.
    facts = {key: value for key, value in vars(version).items() if key not in ("weights", "files")}
    return json.dumps(facts, indent=1).encode()
