"""A project's tasks, identified by their images: finds the existing ones, and adds new ones."""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, Literal
from urllib.parse import quote, unquote

from backend.domain import Prediction
from backend.errors import LabelConfigError
from backend.label_studio.client import LabelStudio
from backend.label_studio.data_keys import image_in, plain_key
from backend.label_studio.uploads import (
    UPLOAD_URL,
    ensure_served,
    file_part,
    image_name,
    import_tasks,
    local_address,
    served_folders,
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

# An upload's name, or a part of it, and its size in bytes; Label Studio does not report the size in some clouds.
UploadKey = tuple[str, int | None]


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
            image_key: the label config's, see `data_keys`.
            dry_run: whether nothing will be written; then Label Studio stays unchanged.

        Raises:
            LabelConfigError: no new task can be made, as the key is not a plain one such as `$image`.
        """
        self._label_studio, self._settings = label_studio, settings
        new_task_key = plain_key(image_key)
        if new_task_key is None:
            raise LabelConfigError(
                f"The label config reads the image under '{image_key}', and new tasks have it under one name. Import "
                'into a project whose <Image> has a value such as value="$image".'
            )
        self._project_id, self._new_task_key = project_id, new_task_key
        self._by_image: dict[str, int] = {}
        self._annotated: set[int] = set()
        files_root = settings.local_files_root
        self._folders: list[PurePosixPath] = []
        if root is not None and files_root is not None:
            self._folders = served_folders(label_studio, project_id=project_id, root=root, files_root=files_root)
            for folder in self._folders if not dry_run else ():
                # Before the tasks are read, because synchronising a storage may add tasks.
                ensure_served(label_studio, project_id=project_id, folder=files_root.absolute() / folder)
        # An import that stopped between uploading files and making their tasks need not upload the files again.
        self._by_name: dict[UploadKey, list[str]] = defaultdict(list)
        self._by_file_part: dict[UploadKey, list[str]] = defaultdict(list)
        for uploaded in uploads(label_studio, project_id=project_id):
            name = image_name(uploaded.address)
            self._by_name[name, uploaded.bytes].append(uploaded.address)
            self._by_file_part[file_part(name), uploaded.bytes].append(uploaded.address)
        for task in label_studio.all_tasks(project_id):
            address = image_in(task["data"], image_key)
            if isinstance(address, str):
                self._by_image[_key(address)] = int(task["id"])
            if task["total_annotations"]:
                self._annotated.add(int(task["id"]))

    def find(self, picture: SetPicture) -> int | None:
        """Returns the task that shows a picture: its path identifies a local file; for uploads see `_upload_of`."""
        if picture.url:
            return self._by_image.get(_key(picture.url))
        served = self._served(picture.file) if picture.file is not None else None
        if served is not None and str(served) in self._by_image:
            return self._by_image[str(served)]
        uploaded = self._upload_of(picture)
        return self._by_image.get(uploaded) if uploaded is not None else None

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
            task: dict[str, Any] = {"data": {self._new_task_key: addresses[arrival.picture.name]}}
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
                earlier_upload = self._upload_of(arrival.picture)
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
        if not self._folders or self._settings.local_files_root is None:
            return None
        served = served_path(file, self._settings.local_files_root)
        is_served = served is not None and any(served.is_relative_to(folder) for folder in self._folders)
        return served if is_served else None

    def _upload_of(self, picture: SetPicture) -> str | None:
        """Returns the address of the upload that holds a picture: the only one of its name and size.

        Files that were uploaded by other programs, or from another folder, have other names: among those that may be
        the same file, and have its size, the content decides.
        """
        name = upload_name(PurePosixPath(picture.name))
        bytes_ = picture.file.stat().st_size if picture.file is not None else len(picture.encoded or b"")
        named = [address for size in (bytes_, None) for address in self._by_name.get((name, size), [])]
        if len(named) == 1:
            return named[0]
        part = file_part(name)
        alike = [address for size in (bytes_, None) for address in self._by_file_part.get((part, size), [])]
        same = [address for address in named or alike if self._content(address) == picture.content()]
        return next((address for address in same if address in self._by_image), same[0] if same else None)

    def _content(self, address: str) -> bytes | None:
        answer = self._label_studio.send("GET", quote(address), follow_redirects=True)
        return answer.content if answer.is_success else None


def _key(address: str) -> str:
    """An upload's address without the server's, a local file's path, else the whole address."""
    uploaded = UPLOAD_URL.search(unquote(address))
    return uploaded[0] if uploaded else image_name(address)
