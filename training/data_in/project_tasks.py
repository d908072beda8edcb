"""A project's tasks, identified by their images: finds the existing ones, and adds new ones."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import unquote

from backend.domain import Prediction
from backend.label_studio.client import LabelStudio
from backend.label_studio.payloads import image_in
from backend.label_studio.uploads import (
    UPLOAD_URL,
    ensure_served,
    image_name,
    import_tasks,
    local_address,
    served_path,
    upload,
    upload_name,
    uploads,
)
from backend.settings import Settings
from training.data_in.picture_folder import SetPicture

ImportKind = Literal["annotations", "predictions"]
# How many files one request uploads.
UPLOAD_BATCH = 10
# An arbitrary constant that makes an import's ids differ from those of other programs.
NAMESPACE = uuid.UUID("b1a3f5de-93c2-4b5e-8a55-6f0b0a8f8f0c")

# A local file's path or an address; for an upload its name, and its size in bytes where that is known.
Key = str | tuple[str, int | None]


@dataclass(frozen=True)
class ImportItem:
    """An image to import, with its regions.

    Attributes:
        result: Label Studio's regions; empty for an image without annotation.
        task_id: id of the task that shows the image already; None for a new task.
    """

    picture: SetPicture
    result: list[dict[str, Any]] = field(default_factory=list)
    task_id: int | None = None


class ProjectTasks:
    """A project's tasks during an import; they are read from Label Studio once, when the set is opened."""

    def __init__(
        self,
        label_studio: LabelStudio,
        settings: Settings,
        project_id: int,
        *,
        image_key: str,
        root: Path | None,
        dry_run: bool,
    ) -> None:
        """Reads the project's tasks, and makes Label Studio serve the images from where they lie, if it can.

        Args:
            root: the folder that all of the set's files lie in or below.
            dry_run: whether nothing will be written; then Label Studio stays unchanged.
        """
        self._label_studio, self._settings = label_studio, settings
        self._project_id, self._image_key = project_id, image_key
        self._by_image: dict[Key, int] = {}
        self._annotated: set[int] = set()
        files_root = settings.local_files_root
        folder = None if root is None or files_root is None else served_path(root, files_root)
        # Label Studio refuses a storage over the whole of its document root.
        self._folder = folder if folder is not None and folder.parts else None
        if self._folder is not None and files_root is not None and not dry_run:
            # Before the tasks are read, because synchronising a storage may add tasks.
            ensure_served(label_studio, project_id=project_id, folder=files_root.absolute() / self._folder)
        sizes = {uploaded.address: uploaded.bytes for uploaded in uploads(label_studio, project_id=project_id)}
        # An import that stopped between uploading files and making their tasks need not upload the files again.
        self._uploaded = {_key(address, sizes): address for address in sizes}
        for task in label_studio.all_tasks(project_id):
            address = image_in(task["data"], image_key)
            if isinstance(address, str):
                self._by_image[_key(address, sizes)] = int(task["id"])
            if task["total_annotations"]:
                self._annotated.add(int(task["id"]))

    def find(self, picture: SetPicture) -> int | None:
        """Returns the task that shows a picture: its path identifies a local file, its name and size an upload."""
        return next((self._by_image[key] for key in self._keys(picture) if key in self._by_image), None)

    def is_annotated(self, task_id: int) -> bool:
        """Whether a task has an annotation, whoever made it."""
        return task_id in self._annotated

    def waiting(self, version: str) -> set[int]:
        """Returns the tasks that have neither an annotation nor a prediction of `version`."""
        return set(self._label_studio.waiting_task_ids(self._project_id, version=version))

    def write(self, arrivals: Sequence[ImportItem], *, kind: ImportKind, version: str, ground_truth: bool) -> None:
        """Creates the new tasks together with their regions, and adds regions to the existing tasks.

        Raises:
            LabelStudioError: Label Studio does not answer, or refuses; of the new tasks, all are then stored or none.
        """
        new = [arrival for arrival in arrivals if arrival.task_id is None]
        addresses = self._addresses(new)
        tasks: list[dict[str, Any]] = []
        for arrival in new:
            task: dict[str, Any] = {"data": {self._image_key: addresses[arrival.picture.name]}}
            if arrival.result and kind == "annotations":
                task["annotations"] = [{"result": arrival.result, "ground_truth": ground_truth}]
            elif arrival.result:
                task["predictions"] = [{"result": arrival.result, "model_version": version, "score": 0.0}]
            tasks.append(task)
        import_tasks(self._label_studio, project_id=self._project_id, tasks=tasks)
        present = [
            (arrival.task_id, arrival.result) for arrival in arrivals if arrival.task_id is not None and arrival.result
        ]
        if kind == "predictions":
            predictions = [(task_id, Prediction(regions=result, model_version=version)) for task_id, result in present]
            self._label_studio.write_predictions(self._project_id, predictions)
            return
        for task_id, result in present:
            # Depends on the task only: if two imports run at once, Label Studio refuses the second annotation.
            unique_id = str(uuid.uuid5(NAMESPACE, f"{self._project_id}/{task_id}"))
            self._label_studio.accept(task_id, result, unique_id=unique_id, ground_truth=ground_truth)

    def _addresses(self, new: Sequence[ImportItem]) -> dict[str, str]:
        """Returns each new picture's address by its name, after uploading those that Label Studio cannot reach."""
        addresses = {arrival.picture.name: arrival.picture.url for arrival in new if arrival.picture.url}
        pending: list[tuple[str, str, Path | bytes]] = []
        for arrival in new:
            file, name = arrival.picture.file, arrival.picture.name
            served = self._served(file) if file is not None else None
            if served is not None:
                addresses[name] = local_address(served)
            elif file is not None or arrival.picture.encoded is not None:
                earlier_upload = next(
                    (self._uploaded[key] for key in self._keys(arrival.picture) if key in self._uploaded), None
                )
                if earlier_upload is not None:
                    addresses[name] = earlier_upload
                else:
                    pending.append((name, upload_name(PurePosixPath(name)), file or arrival.picture.encoded or b""))
        for first in range(0, len(pending), UPLOAD_BATCH):
            batch = pending[first : first + UPLOAD_BATCH]
            files = [(name, source) for _, name, source in batch]
            ids = upload(self._label_studio, project_id=self._project_id, named=files, as_tasks=False)
            uploaded_addresses = {
                uploaded.id: uploaded.address
                for uploaded in uploads(self._label_studio, project_id=self._project_id, upload_ids=ids)
            }
            addresses |= {name: uploaded_addresses[number] for (name, _, _), number in zip(batch, ids, strict=True)}
        return addresses

    def _served(self, file: Path) -> PurePosixPath | None:
        """Returns a file's path below Label Studio's document root; None where the file must be uploaded."""
        if self._folder is None or self._settings.local_files_root is None:
            return None
        served = served_path(file, self._settings.local_files_root)
        return served if served is not None and served.is_relative_to(self._folder) else None

    def _keys(self, picture: SetPicture) -> Iterator[Key]:
        if picture.url:
            uploaded = UPLOAD_URL.search(unquote(picture.url))
            yield (uploaded["name"], None) if uploaded else image_name(picture.url)
            return
        served = self._served(picture.file) if picture.file is not None else None
        if served is not None:
            yield str(served)
        name = upload_name(PurePosixPath(picture.name))
        yield name, picture.file.stat().st_size if picture.file is not None else len(picture.encoded or b"")
        # Label Studio does not report the size of a file that it stores in some clouds.
        yield name, None


def _key(address: str, sizes: dict[str, int | None]) -> Key:
    uploaded = UPLOAD_URL.search(unquote(address))
    return (uploaded["name"], sizes.get(unquote(address))) if uploaded else image_name(address)
