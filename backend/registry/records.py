"""What is found out about a model version after it was stored: small JSON files, and a report, beside its weights.

Where machines share the version they share these files, too.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from backend.errors import StorageError, first_line
from backend.registry.files import MANIFEST
from backend.registry.registry import Version

logger = logging.getLogger(__name__)

REPORT = "report.html"
Record = TypeVar("Record")


def write_facts(version: Version, file: str, facts: dict[str, Any]) -> None:
    """Keeps them with the version, whole or not at all; errors as `write_text` has them."""
    write_text(version, file, json.dumps(facts, indent=1))


def write_text(version: Version, file: str, text: str) -> Path:
    """Keeps a text with the version, whole or not at all; its path.

    Raises:
        FileNotFoundError: the version was deleted meanwhile.
        OSError, StorageError: it cannot be written.
    """
    path = _path(version, file)
    if not version.files.has(_path(version, MANIFEST)):
        # It must not come back as a folder without weights.
        raise FileNotFoundError(f"Model version {version.name} is gone.")
    version.files.put(path, text)
    return path


def read_text(version: Version, file: str) -> str:
    """What is kept with the version.

    Raises:
        FileNotFoundError: nothing is.
        OSError, StorageError: it cannot be read.
    """
    return version.files.current(_path(version, file)).read_text()


def read_facts(version: Version, file: str) -> dict[str, Any] | None:
    """What is kept with the version; None where nothing is, or it cannot be read, which is logged."""
    try:
        facts = json.loads(read_text(version, file))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, StorageError) as e:
        logger.warning("%s of %s cannot be read: %s", file, version.name, e)
        return None
    if not isinstance(facts, dict):
        logger.warning("%s of %s holds no facts", file, version.name)
        return None
    return facts


def read_record(version: Version, file: str, record: TypeAdapter[Record]) -> Record | None:
    """What is kept with the version, as a dataclass; None where nothing is, or it cannot be read, which is logged."""
    facts = read_facts(version, file)
    if facts is None:
        return None
    try:
        return record.validate_python(facts)
    except ValidationError as e:
        logger.warning("%s of %s cannot be read: %s", file, version.name, first_line(e))
        return None


def has_report(version: Version) -> bool:
    """Whether the version has a report."""
    return version.files.has(_path(version, REPORT))


def report_path(version: Version) -> Path:
    """Where the version's report is, if it has one.

    Raises:
        StorageError: it has one, which is not on this machine, and the storage is away.
    """
    return version.files.current(_path(version, REPORT))


def _path(version: Version, file: str) -> Path:
    return version.weights.parent / file
