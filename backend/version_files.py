"""What is found out about a model version after it was stored: small JSON files beside its weights."""

from __future__ import annotations

import json
import logging
import os
from pathlib import Path
from typing import Any

from backend.registry import Version

logger = logging.getLogger(__name__)


def write_facts(version: Version, file: str, facts: dict[str, Any]) -> None:
    """Keeps them with the version, whole or not at all."""
    path = _path(version, file)
    half = path.with_name(f".{file}.{os.getpid()}")
    half.write_text(json.dumps(facts, indent=1))
    half.replace(path)


def read_facts(version: Version, file: str) -> dict[str, Any] | None:
    """What is kept with the version; None where nothing is, or it cannot be read, which is logged."""
    try:
        facts = json.loads(_path(version, file).read_text())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as e:
        logger.warning("%s of %s cannot be read: %s", file, version.name, e)
        return None
    if not isinstance(facts, dict):
        logger.warning("%s of %s holds no facts", file, version.name)
        return None
    return facts


def _path(version: Version, file: str) -> Path:
    return version.weights.parent / file
