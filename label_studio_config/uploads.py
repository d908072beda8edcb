"""Uploads images into a project: the way to a Label Studio that cannot read this machine's disk."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import unquote

import httpx

from backend.errors import LabelStudioError
from backend.labelstudio import LabelStudio

logger = logging.getLogger(__name__)

# What Label Studio takes; one file of another kind makes it refuse the whole request.
UPLOADABLE = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
AT_ONCE = 10
TIMEOUT_S = 300.0
# `/data/upload/<project>/<8 hex digits>-<name>`, as Label Studio keeps an upload.
UPLOADED = re.compile(r"/data/upload/\d+/[0-9a-f]{8}-(?P<name>[^/]+)$")


def ensure_uploaded(label_studio: LabelStudio, *, project_id: int, folder: Path, url: str) -> int:
    """Uploads the images in `folder` and below that the project at `url` lacks, known by their names.

    Returns:
        How many were uploaded.

    Raises:
        LabelStudioError: it is away, or refuses.
    """
    present = _present(label_studio, project_id)
    files = [path for path in sorted(folder.rglob("*")) if path.suffix.lower() in UPLOADABLE and path.is_file()]
    named = [(kept_name(path.relative_to(folder)), path) for path in files]
    missing = [(name, path) for name, path in named if name not in present]
    for first in range(0, len(missing), AT_ONCE):
        _upload(label_studio, f"{url}/api/projects/{project_id}/import", missing[first : first + AT_ONCE])
        logger.info("Uploaded %s of %s images", min(first + AT_ONCE, len(missing)), len(missing))
    return len(missing)


def kept_name(relative: Path) -> str:
    """The name that Label Studio gives an uploaded file, after its own random beginning."""
    joined = "__".join(relative.parts).replace(" ", "_")
    return re.sub(r"[^-\w.]", "", joined)


def _present(label_studio: LabelStudio, project_id: int) -> set[str]:
    sdk = label_studio.sdk
    with label_studio.said_plainly():
        values = [value for task in sdk.tasks.list(project=project_id) for value in (task.data or {}).values()]
    found = [UPLOADED.search(unquote(value)) for value in values if isinstance(value, str)]
    return {match["name"] for match in found if match}


def _upload(label_studio: LabelStudio, url: str, named: Sequence[tuple[str, Path]]) -> None:
    # The SDK has no call for files.
    with label_studio.said_plainly(), ExitStack() as opened:
        files = [(name, (name, opened.enter_context(path.open("rb")))) for name, path in named]
        answer = httpx.post(url, files=files, headers={"Authorization": label_studio.bearer()}, timeout=TIMEOUT_S)
    if not answer.is_success:
        raise LabelStudioError(f"Label Studio refuses the images ({answer.status_code}): {answer.text[:200]}")
