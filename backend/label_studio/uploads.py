"""How tasks name their images and are imported: the names of uploads, and the local files that Label Studio serves."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from label_studio_sdk.core.request_options import RequestOptions

from backend.errors import LabelStudioError, LabelStudioUnavailableError
from backend.label_studio.client import LabelStudio
from backend.label_studio.data_url import is_data_url, short_name
from backend.label_studio.payloads import LOCAL_FILES

# The file types that Label Studio accepts; one file of another type makes it refuse the whole request.
UPLOADABLE = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
UPLOAD_TIMEOUT_S = 300.0
SYNC_TIMEOUT_S = 600
# Long, because one request may hold many tasks with their regions.
IMPORT_TIMEOUT_S = 600
# The address of an upload in Label Studio: `/data/upload/<project>/<8 hex digits>-<name>`.
UPLOAD_URL = re.compile(r"/data/upload/\d+/[0-9a-f]{8}-(?P<name>[^/]+)$")
# Label Studio truncates the path of an upload at 100 characters.
MAX_NAME_LENGTH, DIGEST_LENGTH = 64, 12
# The end of a long name that surely survives, behind the digest and its separator.
FILE_PART_LENGTH = MAX_NAME_LENGTH - DIGEST_LENGTH - 4
# A storage that only serves files: its filter matches no file name, so that synchronising it imports nothing.
SERVING_TITLE = "Imported sets"
MATCH_NOTHING = r"^$"


@dataclass(frozen=True)
class Upload:
    """An uploaded file: its id, its address as tasks name it, and its size in bytes if Label Studio reports it."""

    id: int
    address: str
    bytes: int | None


def upload_name(relative: Path | PurePosixPath) -> str:
    """The name to upload a file under: Label Studio keeps it, behind a random prefix, and no other path has it.

    Label Studio drops characters (brackets, many vowel signs) and makes spaces underscores, so that several names would
    become one. Of a path that does not survive this unchanged, or is too long, the end is kept, behind a digest.
    """
    joined = "__".join(relative.parts)
    kept = re.sub(r"[^-\w.]", "", joined.replace(" ", "_"))
    if kept == joined and kept.split("__") == list(relative.parts) and len(kept) <= MAX_NAME_LENGTH:
        return kept
    digest = hashlib.sha256(os.fsencode(relative)).hexdigest()[:DIGEST_LENGTH]
    return f"{digest}__{kept[-MAX_NAME_LENGTH + DIGEST_LENGTH + 2 :]}"


def file_part(name: str) -> str:
    """What an upload's name keeps of the file's own name: the same for uploads of a file from different folders."""
    return name.rpartition("__")[2][-FILE_PART_LENGTH:]


def image_name(url: str) -> str:
    """The stable part of an image's address: an upload's name, a local file's path, else the address (`short_name`)."""
    if is_data_url(url):
        return short_name(url)
    uploaded = UPLOAD_URL.search(unquote(url))
    if uploaded:
        return uploaded["name"]
    try:
        parts = urlsplit(url)
    except ValueError:
        # Of an invalid address nothing is known; whoever reads the image says what is wrong.
        return url
    if parts.path.endswith(LOCAL_FILES):
        return next(iter(parse_qs(parts.query).get("d", [])), url)
    return url


def local_address(relative: PurePosixPath) -> str:
    """The address of a file below Label Studio's document root, as its storages write it."""
    return f"{LOCAL_FILES}?d={quote(str(relative))}"


def served_path(path: Path, root: Path) -> PurePosixPath | None:
    """The path of a file or folder below Label Studio's document root `root`; None if the root does not contain it.

    Links directly in the root are followed: `drape up` links the user's photographs there.
    """
    real, base = path.resolve(), root.resolve()
    if real.is_relative_to(base):
        return PurePosixPath(real.relative_to(base).as_posix())
    for link in sorted(base.iterdir()) if base.is_dir() else ():
        if link.is_symlink() and real.is_relative_to(link.resolve()):
            return PurePosixPath(link.name, *real.relative_to(link.resolve()).parts)
    return None


def served_folders(label_studio: LabelStudio, *, project_id: int, root: Path, files_root: Path) -> list[PurePosixPath]:
    """The folders below Label Studio's document root `files_root` from which it may serve a set to the project.

    That is the set's `root` itself, if the document root contains it; else what lies below `root` of the folders that
    the project has a storage for. Empty if `root` is the document root, over the whole of which Label Studio refuses a
    storage.
    """
    served = served_path(root, files_root)
    if served is not None:
        return [served] if served.parts else []
    with label_studio.api() as sdk:
        found = sdk.import_storage.local.list(project=project_id)
    storages = [Path(storage.path) for storage in found if storage.path]
    below = [path for path in storages if path.resolve().is_relative_to(root.resolve())]
    return [folder for path in below if (folder := served_path(path, files_root)) is not None]


def ensure_served(label_studio: LabelStudio, *, project_id: int, folder: Path) -> None:
    """Lets the project's annotators see the files in a folder of the document root, through a storage.

    Existing storages of the folder are synchronised first: their files become tasks now, and not a second time later.
    A new storage only serves the files.
    """
    options: RequestOptions = {"timeout_in_seconds": SYNC_TIMEOUT_S}
    with label_studio.api() as sdk:
        storages = sdk.import_storage.local.list(project=project_id)
        covering = [storage for storage in storages if storage.path and folder.is_relative_to(storage.path)]
        for storage in covering:
            if storage.regex_filter != MATCH_NOTHING:
                sdk.import_storage.local.sync(int(storage.id or 0), request_options=options)
        if not covering:
            sdk.import_storage.local.create(
                project=project_id,
                title=SERVING_TITLE,
                path=str(folder),
                regex_filter=MATCH_NOTHING,
                use_blob_urls=True,
                recursive_scan=True,
            )


def upload(
    label_studio: LabelStudio, *, project_id: int, named: Sequence[tuple[str, Path | bytes]], as_tasks: bool
) -> list[int]:
    """Uploads files under the given names in one request; returns the ids of the uploads, in that order.

    Args:
        as_tasks: whether each file becomes a task, too.

    Raises:
        LabelStudioError: Label Studio is unreachable, or refuses the files.
    """
    query = {"commit_to_project": "true" if as_tasks else "false"}
    # The SDK has no call that uploads files.
    with ExitStack() as open_files:
        files: list[tuple[str, tuple[str, IO[bytes] | bytes]]] = [
            # Of several files in one field of the form, Label Studio takes the last alone.
            (
                f"file{number}",
                (name, content if isinstance(content, bytes) else open_files.enter_context(content.open("rb"))),
            )
            for number, (name, content) in enumerate(named)
        ]
        answer = label_studio.send(
            "POST", f"/api/projects/{project_id}/import", params=query, files=files, timeout_s=UPLOAD_TIMEOUT_S
        )
    if not answer.is_success:
        error_type = LabelStudioUnavailableError if answer.status_code >= 500 else LabelStudioError
        raise error_type(f"Label Studio refused the images ({answer.status_code}): {answer.text[:200]}")
    upload_ids = [int(upload_id) for upload_id in answer.json().get("file_upload_ids") or []]
    if len(upload_ids) != len(named):
        raise LabelStudioError(f"Label Studio took {len(upload_ids)} of {len(named)} images: {answer.text[:200]}")
    return upload_ids


def uploads(label_studio: LabelStudio, *, project_id: int, upload_ids: Sequence[int] | None = None) -> list[Upload]:
    """A project's uploads: all of them, or those in `upload_ids`."""
    with label_studio.api() as sdk:
        if upload_ids is None:
            files = sdk.files.list(project_id, all_=True)
        else:
            files = sdk.files.list(project_id, ids=json.dumps(list(upload_ids)))
    return [Upload(int(file.id or 0), f"/data/{file.file}", file.size) for file in files]


def import_tasks(label_studio: LabelStudio, *, project_id: int, tasks: Sequence[dict[str, Any]]) -> list[int]:
    """Creates tasks with the annotations and predictions that they carry: all of them, or none if it fails.

    Returns:
        The ids of the new tasks; empty where Label Studio makes them later and does not say.
    """
    if not tasks:
        return []
    # No automatic retry: if only the answer was lost, the tasks are stored already.
    options: RequestOptions = {"max_retries": 0, "timeout_in_seconds": IMPORT_TIMEOUT_S}
    with label_studio.api() as sdk:
        answer = sdk.projects.import_tasks(
            project_id, request=list(tasks), return_task_ids=True, request_options=options
        )
    return [int(task_id) for task_id in getattr(answer, "task_ids", None) or []]
