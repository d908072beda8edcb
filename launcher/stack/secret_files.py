"""Secrets that are created once and stored: one file each, mode 0600, in a folder of mode 0700."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


class Secrets:
    """The secrets in one folder, by name."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder

    def get(self, name: str) -> str | None:
        """Returns the secret of that name, or None if it does not exist yet."""
        try:
            return (self._folder / name).read_text().strip() or None
        except FileNotFoundError:
            return None

    def put(self, name: str, value: str) -> None:
        """Stores a secret; the file is private before its first byte is written."""
        partial = self._folder / f".{name}.half"
        descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(value + "\n")
        partial.replace(self._folder / name)

    def make(self, name: str) -> str:
        """Returns the secret of that name; generates it at random the first time."""
        secret = self.get(name)
        if secret is None:
            secret = secrets.token_urlsafe(24)
            self.put(name, secret)
        return secret
