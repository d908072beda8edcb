"""Facts about a model version that become known after it was stored: small JSON files and a report beside its weights.

Machines that share the version share these files, too.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from backend.errors import ModelError, NotFoundError, StorageError, first_line
from backend.registry.registry import Version

logger = logging.getLogger(__name__)

REPORT = "report.html"
Record = TypeVar("Record")


def write_facts(version: Version, file: str, facts: dict[str, Any]) -> None:
    """Stores the facts with the version as JSON, whole or not at all; raises what `write_text` raises."""
    write_text(version, file, json.dumps(facts, indent=1))


def write_text(version: Version, file: str, text: str) -> Path:
    """Stores a text with the version, whole or not at all, and returns the path of this machine's copy.

    Raises:
        FileNotFoundError: the version has been deleted.
        OSError, StorageError: the text cannot be written.
    """
    version.files.put({file: text.encode()})
    return version.files.fetch(file)


def read_text(version: Version, file: str) -> str:
    """Returns a text that is stored with the version.

    Raises:
        FileNotFoundError: the version has no such file.
        ModelError, OSError, StorageError: the file cannot be read.
    """
    return version.files.fetch(file).read_text()


def read_facts(version: Version, file: str) -> dict[str, Any] | None:
    """Returns facts that are stored with the version; None if it has none, or if reading fails, which is logged."""
    try:
        facts = json.loads(read_text(version, file))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ModelError, StorageError) as e:
        logger.warning("%s of %s cannot be read: %s", file, version.name, e)
        return None
    if not isinstance(facts, dict):
        logger.warning("%s of %s holds no facts", file, version.name)
        return None
    return facts


def read_record(version: Version, file: str, record: TypeAdapter[Record]) -> Record | None:
    """Returns a version's stored facts as a dataclass; None if it has none, or if reading fails, which is logged."""
    facts = read_facts(version, file)
    if facts is None:
        return None
    try:
        return record.validate_python(facts)
    except ValidationError as e:
        logger.warning("%s of %s cannot be read: %s", file, version.name, first_line(e))
        return None


def has_report(version: Version) -> bool:
    """Returns whether the version has a report."""
    try:
        return REPORT in version.files.digests()
    except FileNotFoundError:
        return False


def report_path(version: Version) -> Path:
    """Returns the path of the version's report.

    Raises:
        NotFoundError: the version has no report.
        StorageError: the report exists but is not on this machine, and the storage is unreachable.
    """
    try:
        return version.files.fetch(REPORT)
    except FileNotFoundError as e:
        raise NotFoundError(f"Model version {version.name} has no report.") from e
