"""Secrets that are made once and kept: one file each, mode 0600, in a folder of mode 0700."""

from __future__ import annotations

import os
import secrets
from pathlib import Path


class Secrets:
    """Secrets under one folder, by name."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._folder = folder

    def get(self, name: str) -> str | None:
        """The secret of that name; None where there is none yet."""
        try:
            return (self._folder / name).read_text().strip() or None
        except FileNotFoundError:
            return None

    def put(self, name: str, value: str) -> None:
        """Keeps a secret; the file is private from its first byte on."""
        half = self._folder / f".{name}.half"
        descriptor = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(value + "\n")
        half.replace(self._folder / name)

    def make(self, name: str) -> str:
        """The secret of that name, made by chance the first time."""
        known = self.get(name)
        if known is None:
            known = secrets.token_urlsafe(24)
            self.put(name, known)
        return known
