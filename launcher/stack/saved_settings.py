"""The addresses and secrets that `drape up` stores for other commands with the same data directory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from backend.settings import Settings
from launcher.errors import LauncherError
from launcher.stack.secret_files import Secrets

SECRET_NAME = "running"
SAVED_FIELDS = (
    "label_studio_url",
    "label_studio_api_key",
    "redis_url",
    "storage_url",
    "basic_auth_user",
    "basic_auth_pass",
    "webhook_secret",
    "port",
    "local_files_root",
)


def save_settings(settings: Settings) -> None:
    """Stores the addresses and secrets in a file that only its owner can read."""
    values = settings.model_dump(mode="json", include=set(SAVED_FIELDS))
    Secrets(settings.data_dir / "secrets").put(SECRET_NAME, json.dumps(values))


def complete(settings: Settings) -> Settings:
    """Returns `settings`, with the fields that were not set filled in from the last `drape up`."""
    saved = Secrets(settings.data_dir / "secrets").get(SECRET_NAME)
    if saved is None:
        return settings
    values = {name: value for name, value in json.loads(saved).items() if name not in settings.model_fields_set}
    if values.get("local_files_root"):
        values["local_files_root"] = Path(values["local_files_root"])
    return settings.model_copy(update=values)


def read_settings(**options: Any) -> Settings:
    """Reads the settings from the environment; values from the command line (`options`) override them.

    Raises:
        LauncherError: a setting has an invalid value; the message names the setting.
    """
    try:
        return Settings(**{name: value for name, value in options.items() if value is not None})
    except ValidationError as e:
        details = "; ".join(f"{'.'.join(map(str, error['loc'])).upper()}: {error['msg']}" for error in e.errors())
        raise LauncherError(f"Invalid settings: {details}. docs/reference/settings.md lists all settings.") from e


def saved_settings() -> Settings:
    """Reads the settings, and fills those that were not set from the last `drape up` in the same data directory.

    Raises:
        LauncherError: as in `read_settings`.
    """
    return complete(read_settings())
