"""Ultralytics without its phoning home; the one place that touches its global state."""

from __future__ import annotations

import logging
from typing import Any


def quiet_ultralytics() -> Any:
    """The `ultralytics` module, imported on first use: it synchronises nothing, installs nothing, says little.

    The settings are changed in memory alone: the user's own Ultralytics settings file stays as it is.
    """
    import ultralytics
    from ultralytics.utils import SETTINGS, checks

    # JSONDict.__setitem__ would write the user's settings file.
    dict.__setitem__(SETTINGS, "sync", False)
    checks.AUTOINSTALL = False
    logging.getLogger("ultralytics").setLevel(logging.WARNING)
    return ultralytics
