"""Ultralytics without its phoning home; the one place that touches its global settings."""

from __future__ import annotations

import logging
from typing import Any


def quiet_ultralytics() -> Any:
    """The `ultralytics` module with its synchronising off and its chatter at warnings; imported on first use.

    The setting is changed in memory alone: the user's own Ultralytics settings file stays as it is.
    """
    import ultralytics
    from ultralytics.utils import SETTINGS

    # JSONDict.__setitem__ would write the user's settings file.
    dict.__setitem__(SETTINGS, "sync", False)
    logging.getLogger("ultralytics").setLevel(logging.WARNING)
    return ultralytics
