"""Label configs as they were a moment ago: each frame needs its project's, and Label Studio is not asked each time."""

from __future__ import annotations

import time
from functools import lru_cache

from backend.label_studio.client import LabelStudio
from backend.label_studio.label_config import LabelConfig, parse_label_config

MAX_AGE_S = 60
MAX_CONFIGS = 8


class RecentConfigs:
    """Reads label configs, and keeps those that were asked for last. Thread-safe."""

    def __init__(self, label_studio: LabelStudio) -> None:
        self._label_studio = label_studio
        self._kept = lru_cache(maxsize=MAX_CONFIGS)(self._read)

    def get(self, project_id: int) -> LabelConfig:
        """The project's label config as it was at most `MAX_AGE_S` ago.

        Raises:
            LabelConfigError: it cannot be served.
            LabelStudioError: Label Studio is unreachable, or has no such project.
        """
        return self._kept(project_id, int(time.monotonic() / MAX_AGE_S))

    def _read(self, project_id: int, period: int) -> LabelConfig:
        return parse_label_config(self._label_studio.project(project_id).label_config)
