"""What keeps `drape` from going on, in one sentence with the remedy."""

from __future__ import annotations


class LauncherError(Exception):
    """Shown to the user as it is; the command then ends with status 1."""
