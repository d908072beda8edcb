"""Deletes what killed processes of Drape left incomplete in the data directory."""

from __future__ import annotations

from backend.settings import Settings
from backend.storage.atomic_files import delete_leftovers

# Label Studio and Redis, which have folders beside these, look after their own files.
FOLDERS = ("approvals", "cache", "datasets", "embeddings", "models", "training", "weights")


def delete_all_leftovers(settings: Settings) -> None:
    """Deletes incomplete files and folders that no process is writing; for the start of each program."""
    for folder in {settings.models_path, *(settings.data_dir / name for name in FOLDERS)}:
        delete_leftovers(folder)
