"""The error that ends a `drape` command: one sentence with the remedy."""

from __future__ import annotations


class LauncherError(Exception):
    """An error whose message the user sees unchanged; the command then exits with status 1."""
