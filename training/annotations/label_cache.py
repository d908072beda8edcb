"""Caches the labels of each approved annotation's garments, so that a survey reads the regions of new ones only."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Iterable
from pathlib import Path

from pydantic import TypeAdapter

from backend.label_studio.label_config import LabelConfig
from backend.storage.atomic_files import write_atomically
from training.annotations.approvals import Approved
from training.annotations.truth import garment_labels, label_facts

logger = logging.getLogger(__name__)

# Part of the cache key: increase it when labels are read differently, so that cached ones are dropped.
RELEASE = 1
_JSON = TypeAdapter(dict[str, list[str]])


def cached_labels(approved: Iterable[Approved], config: LabelConfig, path: Path) -> list[list[str]]:
    """Returns the labels of each annotation's garments; see `garment_labels`.

    Args:
        path: the file of the cache, which may be deleted at any time.

    Raises:
        OSError: the file cannot be written.
    """
    config_hash = hashlib.sha256(json.dumps([RELEASE, *label_facts(config)]).encode()).hexdigest()[:16]
    cached, labels = _read(path), {}
    of_each = []
    for annotation in approved:
        name = f"{annotation.annotation_id}-{annotation.content_hash}-{config_hash}"
        if name not in labels:
            labels[name] = cached[name] if name in cached else garment_labels(annotation.result, config)
        of_each.append(labels[name])
    if labels != cached:
        write_atomically(path, json.dumps(labels))
    return of_each


def _read(path: Path) -> dict[str, list[str]]:
    try:
        return _JSON.validate_python(json.loads(path.read_text()))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as e:
        logger.warning("%s cannot be read. All labels are counted again: %s", path, e)
        return {}
