"""The results of preparing a model version for pre-annotation: its fastest runtime, and clusters of images.

Both are stored with the version, as the folder `prepared`; `prepare` makes them, and can make them again at any time.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter

from backend.detector.runtimes.base import Precision
from backend.errors import ModelError, StorageError
from backend.registry.registry import Version

logger = logging.getLogger(__name__)

# The folder of the preparation, among the version's files.
PREPARED = "prepared"
CLUSTERS_FILE, OPENVINO_FILE, RECORD_FILE = "clusters.safetensors", "openvino.xml", "preparation.json"
RuntimeName = Literal["torch", "openvino-bf16", "openvino-f32"]
# OpenVINO's precision → name of the runtime.
RUNTIMES: dict[Precision, RuntimeName] = {"bf16": "openvino-bf16", "f32": "openvino-f32"}


@dataclass(frozen=True)
class Preparation:
    """How a version is computed on the kind of machine that prepared it.

    Attributes:
        runtime: the fastest runtime whose masks are as good as PyTorch's.
        note: a sentence that gives the reason.
        map_torch, map_runtime: mask mAP of both on the same images, in `[0, 1]`; None if it was not measured.
        images: number of those images.
    """

    runtime: RuntimeName
    note: str
    map_torch: float | None = None
    map_runtime: float | None = None
    images: int = 0


_JSON = TypeAdapter(Preparation)


def preparation_folder(version: Version) -> Path:
    """Returns the folder of a version's preparation.

    Raises:
        FileNotFoundError: the version is not prepared.
        ModelError: the preparation was changed after it was stored.
        StorageError: the preparation exists but is not on this machine, and the storage is unreachable.
    """
    return version.files.fetch_folder(PREPARED)


def read_preparation(version: Version) -> Preparation | None:
    """Returns the version's preparation; None if there is none yet, or if it cannot be read and must be made again."""
    try:
        return _JSON.validate_json((preparation_folder(version) / RECORD_FILE).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError, ModelError, StorageError) as e:
        logger.warning("The preparation of %s cannot be read and is repeated: %s", version.name, e)
        return None
