"""Uploads images into a project of a Label Studio that cannot read this machine's disk."""

from __future__ import annotations

import logging
from pathlib import Path
from urllib.parse import unquote

from backend.label_studio.client import LabelStudio
from backend.label_studio.uploads import UPLOAD_URL, UPLOADABLE, upload, upload_name

logger = logging.getLogger(__name__)

BATCH_FILES = 10


def ensure_uploaded(label_studio: LabelStudio, *, project_id: int, folder: Path) -> int:
    """Uploads the images in `folder` and below that the project lacks; an image is identified by its name.

    Returns:
        How many images were uploaded.

    Raises:
        LabelStudioError: Label Studio does not answer, or refuses.
    """
    present = _present(label_studio, project_id)
    files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in UPLOADABLE and path.is_file()]
    named = [(upload_name(path.relative_to(folder)), path) for path in files]
    missing = [(name, path) for name, path in named if name not in present]
    for first in range(0, len(missing), BATCH_FILES):
        batch = missing[first : first + BATCH_FILES]
        upload(label_studio, project_id=project_id, named=batch, as_tasks=True)
        logger.info("Uploaded %s of %s images", min(first + BATCH_FILES, len(missing)), len(missing))
    return len(missing)


def _present(label_studio: LabelStudio, project_id: int) -> set[str]:
    with label_studio.api() as sdk:
        values = [value for task in sdk.tasks.list(project=project_id) for value in (task.data or {}).values()]
    matches = [UPLOAD_URL.search(unquote(value)) for value in values if isinstance(value, str)]
    return {match["name"] for match in matches if match}
