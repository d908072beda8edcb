"""Ultralytics without its phoning home; the one place that touches its global state."""

from __future__ import annotations

import logging
from typing import Any


def quiet_ultralytics() -> Any:
    """The `ultralytics` module, imported on first use: no syncing, no installing, few words, all of torch's cores.

    The settings are changed in memory alone: the user's own Ultralytics settings file stays as it is.
    """
    import torch
    import ultralytics
    from ultralytics.utils import SETTINGS, checks, torch_utils

    # JSONDict.__setitem__ would write the user's settings file.
    dict.__setitem__(SETTINGS, "sync", False)
    checks.AUTOINSTALL = False
    # Where it chooses the CPU it sets torch to one core less than there are, for every model of the process: of two
    # cores, one.
    torch_utils.NUM_THREADS = torch.get_num_threads()
    logging.getLogger("ultralytics").setLevel(logging.WARNING)
    return ultralytics
